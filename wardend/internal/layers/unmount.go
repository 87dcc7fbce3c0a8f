package layers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// maxRounds bounds how often Unmount looks again; what is mounted faster than
// that is not what a wardend left.
const maxRounds = 1000

// Mounted says whether target is the root of a mount; not when it does not
// exist. The last element of target may not be a link that is to be followed.
func Mounted(target string) (bool, error) {
	mounted, err := isMountRoot(unix.AT_FDCWD, target)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	return mounted, err
}

// isMountRoot asks about a path, or about the open file at when path is empty.
func isMountRoot(at int, path string) (bool, error) {
	var stat unix.Statx_t
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if err := unix.Statx(at, path, flags, 0, &stat); err != nil {
		return false, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	if stat.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return false, errors.New("the kernel does not tell where mounts are (Linux 5.8)")
	}
	return stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// Unmount takes away all that is mounted at target and beneath it, also one
// mount above the other. It is nil when nothing is mounted or target does not
// exist. Programs that have files open there keep them: what was mounted is
// gone from the tree at once, and freed when the last of them is closed.
//
// It is quick for a target that is a mount or an empty directory. For another
// the kernel's list of all mounts is read, which takes milliseconds when there
// are thousands. It goes on after an error, and tells of all of them. A target
// that is "/" or not absolute is refused.
func Unmount(target string) error {
	if !filepath.IsAbs(target) || filepath.Clean(target) == "/" {
		return fmt.Errorf("%q is not a place to unmount", target)
	}
	for range maxRounds {
		mounted, err := Mounted(target)
		if err != nil {
			return err
		}
		if !mounted {
			return unmountBeneath(target)
		}
		// What lies beneath goes with it.
		if err := detach(target); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s is mounted over and over", target)
}

// detach unmounts the topmost mount at path and all beneath; nil when there is none (any more).
func detach(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "umount", Path: path, Err: err}
}

// unmountBeneath takes away what is mounted in a directory that is no mount itself.
func unmountBeneath(target string) error {
	if empty, err := isEmpty(target); empty || err != nil {
		return err
	}
	// The kernel's list has no links in its names.
	resolved, err := filepath.EvalSymlinks(target)
	if err != nil {
		return err
	}
	for range maxRounds {
		mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(resolved))
		if err != nil {
			return fmt.Errorf("cannot list what is mounted in %s: %w", target, err)
		}
		if len(mounts) == 0 {
			return nil
		}
		// The newest first, as it may lie above or beneath others.
		slices.Reverse(mounts)
		var all error
		for _, mount := range mounts {
			all = errors.Join(all, detach(mount.Mountpoint))
		}
		if all != nil {
			return all
		}
	}
	return fmt.Errorf("%s has new mounts over and over", target)
}

// isEmpty says whether nothing can be mounted in target: it is an empty directory, or none.
func isEmpty(target string) (bool, error) {
	dir, err := os.OpenFile(target, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(1)
	return len(names) == 0, nil
}
