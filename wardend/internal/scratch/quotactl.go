package scratch

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The interface to project quotas is the same on every file system that has them: quotactl(2), and the attributes of
// ioctl_xfs_fsgetxattr(2).

// diskQuota is struct if_dqblk of linux/quota.h.
type diskQuota struct {
	// Limits of bytes are in units of 1024.
	blockHard, blockSoft uint64
	bytes                uint64
	inodeHard, inodeSoft uint64
	inodes               uint64
	blockTime, inodeTime uint64
	valid                uint32
	_                    uint32
}

// Commands and flags of linux/quota.h.
const (
	getQuota       = 0x800007
	setQuota       = 0x800008
	projectQuotas  = 2
	blockLimits    = 1
	inodeLimits    = 4
	quotaBlockSize = 1024
)

// quotactl does a command for a project on dir's file system; quotactl_fd(2) is there since Linux 5.14.
func quotactl(dir *os.File, command, project uint32, quota *diskQuota) error {
	const subcommandShift = 8
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, dir.Fd(), uintptr(command<<subcommandShift|projectQuotas),
		uintptr(project), uintptr(unsafe.Pointer(quota)), 0, 0)
	runtime.KeepAlive(dir)
	if errno != 0 {
		return &os.PathError{Op: "quotactl", Path: dir.Name(), Err: errno}
	}
	return nil
}

// fileAttributes is struct fsxattr of linux/fs.h.
type fileAttributes struct {
	flags, extentSize, extents uint32
	project                    uint32
	cowExtentSize              uint32
	_                          [8]byte
}

const (
	getAttributes   = 0x801c581f // FS_IOC_FSGETXATTR
	setAttributes   = 0x401c5820 // FS_IOC_FSSETXATTR
	projectInherits = 0x200      // FS_XFLAG_PROJINHERIT: what is made in the directory belongs to its project
)

// projectOf is the project that a directory and what will be made in it belongs to; 0 when that is none.
func projectOf(dir *os.File) (uint32, error) {
	var attributes fileAttributes
	if err := rawIoctl(dir, "FS_IOC_FSGETXATTR", getAttributes, unsafe.Pointer(&attributes)); err != nil {
		return 0, err
	}
	if attributes.flags&projectInherits == 0 {
		return 0, nil
	}
	return attributes.project, nil
}

func setProject(dir *os.File, project uint32) error {
	var attributes fileAttributes
	if err := rawIoctl(dir, "FS_IOC_FSGETXATTR", getAttributes, unsafe.Pointer(&attributes)); err != nil {
		return err
	}
	attributes.project = project
	attributes.flags |= projectInherits
	return rawIoctl(dir, "FS_IOC_FSSETXATTR", setAttributes, unsafe.Pointer(&attributes))
}
