package scratch

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// mountImage mounts an image's file system at a directory, which is made when it is missing. isNew says that nobody
// can have mounted it yet, which saves the look at all loop devices.
//
// Containers' devices and setuid programs are in the overlays on top, and need not work in here.
func mountImage(ctx context.Context, image, target, fstype, options string, isNew bool) error {
	if err := os.MkdirAll(target, dirMode); err != nil {
		return err
	}
	var device *os.File
	var err error
	if !isNew {
		device, err = attached(image)
	}
	if device == nil && err == nil {
		device, err = attach(ctx, image)
	}
	if err != nil {
		return err
	}
	defer device.Close()
	const flags = unix.MS_NOATIME | unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount(device.Name(), target, fstype, flags, options); err != nil {
		return &os.PathError{Op: "mount " + image, Path: target, Err: err}
	}
	return nil
}

// mounted says whether a directory is where a file system is mounted. One that does not exist is not.
func mounted(dir string) (bool, error) {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &stat)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "statx", Path: dir, Err: err}
	}
	if stat.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return false, &os.PathError{Op: "statx", Path: dir, Err: errors.New("the kernel is older than 5.8")}
	}
	return stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// How long a mount may be busy: what is ending meanwhile, or somebody who looks at it.
const (
	busyTime  = time.Second
	busyPause = 2 * time.Millisecond
)

// unmount takes away all that is mounted at a directory. What stays busy is EBUSY.
func unmount(ctx context.Context, dir string) error {
	until := time.Now().Add(busyTime)
	for {
		is, err := mounted(dir)
		if err != nil || !is {
			return err
		}
		err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		if err == nil {
			continue
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(until) {
			return &os.PathError{Op: "unmount", Path: dir, Err: err}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyPause):
		}
	}
}

// isType says whether a directory's file system is of the type.
func isType(dir string, magic int64) (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return false, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(stat.Type) == magic, nil //nolint:unconvert // an int32 on some machines
}
