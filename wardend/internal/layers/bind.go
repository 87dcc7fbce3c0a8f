package layers

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

// ErrRoot means that a bind mount would cover the whole tree.
var ErrRoot = errors.New("nothing can be mounted over /")

// Bind is a directory or file of the machine that a container sees.
type Bind struct {
	// Source is a path on the machine; links are followed. An open file by its
	// name in /proc will do, unless it was removed. What is mounted
	// beneath it is seen, too, as it is at the time, and stays in use until
	// the container is gone.
	Source string
	// Target is a path in the container's tree: it and the links on its way
	// are followed within the tree, as by a process that lives in it. What is
	// missing of it is made.
	Target string
	// ReadOnly holds for all that is mounted beneath Source as well.
	ReadOnly bool
}

// MountBind mounts b in the tree at root, which is an [Overlay]'s target.
// Missing directories, mode 0755, and the mount point, a file for a file, are
// made and belong to the root of the container, whose ids are given. Called
// twice it mounts twice; [Unmount] of root takes away all.
//
// The files show the ids that they have on the machine. Devices, set-user-id
// bits and mounts that appear or go on the machine later have no effect in the tree.
//
// The content of the tree is not trusted: no link in it leads out, nothing is
// made in what is mounted in it, and no name is looked up twice. The error wraps
// ErrRoot when Target is the root, and the kernel's error otherwise.
func MountBind(root string, ids idmap.Range, b Bind) error {
	if err := mountBind(root, ids, b); err != nil {
		return fmt.Errorf("cannot mount %s at %s of %s: %w", b.Source, b.Target, root, err)
	}
	return nil
}

func mountBind(root string, ids idmap.Range, b Bind) error {
	tree, err := openTree(root, ids)
	if err != nil {
		return err
	}
	defer tree.close()
	source, isDir, err := cloneSource(b)
	if err != nil {
		return err
	}
	defer unix.Close(source)
	target, err := tree.mountPoint(b.Target, isDir)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return moveOnto(source, target)
}

// cloneSource returns a detached clone of what is to be seen in the container.
func cloneSource(b Bind) (fd int, isDir bool, err error) {
	fd, err = unix.OpenTree(unix.AT_FDCWD, b.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, false, fmt.Errorf("open_tree: %w", err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if b.ReadOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	var stat unix.Stat_t
	if err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		err = fmt.Errorf("mount_setattr: %w", err)
	} else {
		err = unix.Fstat(fd, &stat)
	}
	if err == nil && stat.Nlink == 0 {
		err = fmt.Errorf("it has been removed, though it is still open: %w", unix.ENOENT)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, false, err
	}
	return fd, stat.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}
