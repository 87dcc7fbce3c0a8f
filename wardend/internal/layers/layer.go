package layers

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// LayerError says which layer cannot be used, and why.
type LayerError struct {
	Dir    string
	Reason string // a sentence, with what to do where anything can be done
	Err    error  // the kernel's error
}

func (e *LayerError) Error() string {
	return fmt.Sprintf("layer %s cannot be used: %s: %v", e.Dir, e.Reason, e.Err)
}

func (e *LayerError) Unwrap() error { return e.Err }

// cloneLayer returns a detached read-only mount of the directory, in which the
// ids of its files are those that the user namespace gives them.
func cloneLayer(dir string, namespace int) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, &LayerError{Dir: dir, Reason: openReason(err), Err: err}
	}
	if err := mapLayer(dir, fd, namespace); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func mapLayer(dir string, fd, namespace int) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return &LayerError{Dir: dir, Reason: "it cannot be looked at", Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return &LayerError{Dir: dir, Reason: "it is no directory", Err: unix.ENOTDIR}
	}
	err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		Propagation: unix.MS_PRIVATE,
		Userns_fd:   uint64(namespace),
	})
	if err != nil {
		return &LayerError{Dir: dir, Reason: mapReason(fd, err), Err: err}
	}
	return nil
}

func openReason(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return "it does not exist"
	case errors.Is(err, unix.ENOSYS):
		return "the kernel has no open_tree (Linux 5.2)"
	case errors.Is(err, unix.EPERM):
		return "it takes root with CAP_SYS_ADMIN"
	case errors.Is(err, unix.EINVAL):
		return "it lies in a mount that cannot be cloned"
	}
	return "it cannot be opened"
}

func mapReason(fd int, err error) string {
	switch {
	case errors.Is(err, unix.ENOSYS):
		return "the kernel has no idmapped mounts (Linux 5.12)"
	case errors.Is(err, unix.EPERM):
		return "its file system is not the machine's own, or is idmapped already"
	case errors.Is(err, unix.EINVAL):
		return fmt.Sprintf("its file system (%s) cannot show its files as a container's on this kernel; "+
			"copy the directory to ext4, XFS, Btrfs or tmpfs", fileSystem(fd))
	}
	return "its files cannot be shown as a container's"
}

// fileSystem names the file system of an open file: those that are known to
// hold a rootfs at times, else its number as in statfs(2).
func fileSystem(fd int) string {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(fd, &stat); err != nil {
		return "unknown"
	}
	switch stat.Type {
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.FUSE_SUPER_MAGIC:
		return "FUSE"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.CEPH_SUPER_MAGIC:
		return "Ceph"
	case unix.SMB2_SUPER_MAGIC:
		return "SMB"
	}
	return fmt.Sprintf("type %#x", stat.Type)
}
