package layers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

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

// place is a directory or file of a file system, whatever mount shows it.
type place struct{ device, inode uint64 }

// ancestors are the open directories and all that they lie in.
func ancestors(directories ...int) (map[place]string, error) {
	all := map[place]string{}
	seen := map[string]bool{}
	for _, fd := range directories {
		path, err := os.Readlink(procPath(fd))
		if err != nil {
			return nil, err
		}
		for ; !seen[path]; path = filepath.Dir(path) {
			var stat unix.Stat_t
			if err := unix.Stat(path, &stat); err != nil {
				return nil, &os.PathError{Op: "stat", Path: path, Err: err}
			}
			all[place{stat.Dev, stat.Ino}] = path
			seen[path] = true
		}
	}
	return all, nil
}

// cloneLayer returns a detached read-only mount of the directory, in which the
// ids of its files are those that the user namespace gives them. It must be
// none of the outer ones: containers would see what others write.
func cloneLayer(dir string, namespace int, outer map[place]string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, &LayerError{Dir: dir, Reason: openReason(err), Err: err}
	}
	if err := mapLayer(dir, fd, namespace, outer); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func mapLayer(dir string, fd, namespace int, outer map[place]string) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return &LayerError{Dir: dir, Reason: "it cannot be looked at", Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return &LayerError{Dir: dir, Reason: "it is no directory", Err: unix.ENOTDIR}
	}
	if _, ok := outer[place{stat.Dev, stat.Ino}]; ok {
		return &LayerError{Dir: dir, Reason: "what the container writes would lie in it", Err: unix.ELOOP}
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
