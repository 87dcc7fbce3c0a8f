package scratch

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The few of btrfs's ioctls that are needed, after linux/btrfs.h and linux/btrfs_tree.h. The libraries for it either
// need C (containerd/btrfs) or know no simple quotas and are not kept up (dennwc/btrfs).

// Directions of an ioctl's argument, in its number.
const (
	ioWrite = 1 << 30
	ioRead  = 2 << 30
)

// btrfsIoctl is the number of one of btrfs's ioctls.
func btrfsIoctl(direction, nr, size uintptr) uintptr {
	const magic = 0x94
	return direction | size<<16 | magic<<8 | nr //nolint:mnd // as _IOC of asm-generic/ioctl.h
}

// ioctl calls one whose argument is the structure at arg.
func ioctl[T any](f *os.File, name string, direction, nr uintptr, arg *T) error {
	return rawIoctl(f, name, btrfsIoctl(direction, nr, unsafe.Sizeof(*arg)), unsafe.Pointer(arg))
}

func rawIoctl(f *os.File, name string, number uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), number, uintptr(arg))
	runtime.KeepAlive(f)
	if errno != 0 {
		return &os.PathError{Op: name, Path: f.Name(), Err: errno}
	}
	return nil
}

// volArgs is struct btrfs_ioctl_vol_args.
type volArgs struct {
	_    int64
	name [4088]byte
}

// createSubvolume makes a subvolume in a directory. Ids are shorter than a name may be.
func createSubvolume(dir *os.File, name string) error {
	var args volArgs
	copy(args.name[:], name)
	return ioctl(dir, "BTRFS_IOC_SUBVOL_CREATE", ioWrite, 14, &args)
}

// destroySubvolume takes a subvolume out of a directory. What is in it is freed later, by the kernel.
func destroySubvolume(dir *os.File, name string) error {
	var args volArgs
	copy(args.name[:], name)
	return ioctl(dir, "BTRFS_IOC_SNAP_DESTROY", ioWrite, 15, &args)
}

// BTRFS_FIRST_FREE_OBJECTID: a subvolume's root directory, among its objects, and the lowest id that a new subvolume gets.
const (
	rootDirectory  = 256
	firstSubvolume = 256
)

// subvolumeID is the id of the subvolume that a file lies in: BTRFS_IOC_INO_LOOKUP with struct
// btrfs_ioctl_ino_lookup_args.
func subvolumeID(f *os.File) (uint64, error) {
	args := struct {
		tree, object uint64
		_            [4080]byte
	}{object: rootDirectory}
	err := ioctl(f, "BTRFS_IOC_INO_LOOKUP", ioRead|ioWrite, 18, &args)
	return args.tree, err
}

// Commands of BTRFS_IOC_QUOTA_CTL. Simple quotas charge a block to the subvolume that it was written for, and nothing
// has to be found out when subvolumes share or are removed; Linux has them since 6.7.
const (
	quotaEnable       = 1
	quotaEnableSimple = 4
)

func enableQuota(f *os.File, command uint64) error {
	args := struct{ command, status uint64 }{command: command}
	return ioctl(f, "BTRFS_IOC_QUOTA_CTL", ioRead|ioWrite, 40, &args)
}

// rescanQuota starts to count anew what subvolumes use, in the background. EINPROGRESS means that it is being done.
func rescanQuota(f *os.File) error {
	var args [8]uint64 // struct btrfs_ioctl_quota_rescan_args
	return ioctl(f, "BTRFS_IOC_QUOTA_RESCAN", ioWrite, 44, &args)
}

func waitForRescan(f *os.File) error {
	return rawIoctl(f, "BTRFS_IOC_QUOTA_RESCAN_WAIT", btrfsIoctl(0, 46, 0), nil)
}

// limitSubvolume limits the bytes that a subvolume may refer to; 0 is no limit. F lies in another one that has no limit:
// the change is written on the account of the subvolume that it is asked by, which must not be the one that is full.
func limitSubvolume(f *os.File, id, bytes uint64) error {
	const maxReferred = 1 << 0 // BTRFS_QGROUP_LIMIT_MAX_RFER
	if bytes == 0 {
		bytes = math.MaxUint64 // takes the limit away
	}
	args := struct {
		group                        uint64
		flags, maxReferred           uint64
		maxExclusive                 uint64
		reserveReferred, reserveExcl uint64
	}{group: id, flags: maxReferred, maxReferred: bytes}
	return ioctl(f, "BTRFS_IOC_QGROUP_LIMIT", ioRead, 43, &args)
}

// removeGroup removes the quota group of a subvolume. EBUSY means that the subvolume is still being freed.
func removeGroup(f *os.File, id uint64) error {
	args := struct{ create, group uint64 }{group: id}
	return ioctl(f, "BTRFS_IOC_QGROUP_CREATE", ioWrite, 42, &args)
}

// fileSystemID is how sysfs names the file system: BTRFS_IOC_FS_INFO with struct btrfs_ioctl_fs_info_args.
func fileSystemID(f *os.File) (string, error) {
	var args struct {
		_    [2]uint64
		fsid [16]byte
		_    [992]byte
	}
	if err := ioctl(f, "BTRFS_IOC_FS_INFO", ioRead, 31, &args); err != nil {
		return "", err
	}
	id := hex.EncodeToString(args.fsid[:])
	return fmt.Sprintf("%s-%s-%s-%s-%s", id[:8], id[8:12], id[12:16], id[16:20], id[20:]), nil
}

// searchKey is struct btrfs_ioctl_search_key.
type searchKey struct {
	tree                       uint64
	minObject, maxObject       uint64
	minOffset, maxOffset       uint64
	minTransaction, maxTransID uint64
	minType, maxType           uint32
	items                      uint32
	_                          [9]uint32
}

// searchBuffer is how much is looked at in one call of the kernel: some 500 items.
const searchBuffer = 64 << 10

// search is struct btrfs_ioctl_search_args_v2.
type search struct {
	key    searchKey
	size   uint64
	buffer [searchBuffer]byte
}

// searchHeaderSize is the size of struct btrfs_ioctl_search_header: transaction, object, offset, type, length.
const searchHeaderSize = 32

// inodeItem is the type of the one item that every inode has: BTRFS_INODE_ITEM_KEY.
const inodeItem = 1

// countInodes counts the inodes of f's subvolume from the first object on that is at least from. It returns where to
// go on, 0 at the end.
func (s *search) countInodes(f *os.File, from uint64) (count, next uint64, err error) {
	s.key = searchKey{
		minObject: from, maxObject: math.MaxUint64 - 1<<8, // above are the file system's own
		maxOffset: math.MaxUint64, maxTransID: math.MaxUint64, minType: inodeItem, maxType: math.MaxUint8,
		items: math.MaxUint32,
	}
	s.size = searchBuffer
	// The buffer is not part of the number.
	number := btrfsIoctl(ioRead|ioWrite, 17, unsafe.Offsetof(s.buffer)) //nolint:mnd // BTRFS_IOC_TREE_SEARCH_V2
	if err := rawIoctl(f, "BTRFS_IOC_TREE_SEARCH_V2", number, unsafe.Pointer(s)); err != nil {
		return 0, 0, err
	}
	rest := s.buffer[:]
	var object uint64
	for range s.key.items {
		if len(rest) < searchHeaderSize {
			break
		}
		object = binary.NativeEndian.Uint64(rest[8:])
		kind, length := binary.NativeEndian.Uint32(rest[24:]), binary.NativeEndian.Uint32(rest[28:])
		if kind == inodeItem {
			count++
		}
		rest = rest[min(len(rest), searchHeaderSize+int(length)):]
	}
	if s.key.items == 0 {
		return 0, 0, nil
	}
	// The inode's other items, of which a large file has many, need not be looked at: the next inode comes after them.
	return count, object + 1, nil
}

// trimmed reads a short file of sysfs.
func trimmed(path string) (string, error) {
	b, err := os.ReadFile(path)
	return string(bytes.TrimSpace(b)), err
}
