package layers

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Private makes the directory dir a mount of its own that shares nothing with
// other mount namespaces, for the targets of overlays to lie in. Where the
// machine's root is shared, as systemd has it, each overlay would otherwise
// appear in every service that has a mount namespace: a create is slower for
// each of them, and a service that keeps one keeps what the container wrote.
//
// What is mounted in dir already, as a disk of the operator's, stays in sight.
// It may be called again, also by the next server: what is a mount already is made private
// only. [Unmount] takes it away.
func Private(dir string) error {
	if err := private(dir); err != nil {
		return fmt.Errorf("cannot make %s a private mount: %w", dir, err)
	}
	return nil
}

func private(dir string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	mounted, err := isMountRoot(fd, "")
	if err != nil || mounted {
		return errors.Join(err, makePrivate(fd))
	}
	clone, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer unix.Close(clone)
	if err := moveOnto(clone, fd); err != nil {
		return err
	}
	// In a shared mount it has become shared.
	return makePrivate(clone)
}

// makePrivate ends what the mount of an open file shares with others.
func makePrivate(fd int) error {
	err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Propagation: unix.MS_PRIVATE})
	if err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}
