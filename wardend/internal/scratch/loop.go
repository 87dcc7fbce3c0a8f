package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// blockSize is that of all file systems in images, and of the loop devices. It is a multiple of what any disk has, so
// that direct I/O works.
const blockSize = 4096

// Somebody else may take the device that the kernel named as free. A hundred who do so at once still get theirs.
const (
	loopTries = 200
	loopPause = time.Millisecond
)

// attach gives the image a loop device, which is freed when both the returned file and the last mount of it are closed.
func attach(ctx context.Context, image string) (*os.File, error) {
	backing, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range loopTries {
		device, err := configure(control, backing)
		if err == nil {
			return device, nil
		}
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("loop device for %s: %w", image, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(loopPause):
		}
	}
	return nil, fmt.Errorf("loop device for %s: all were taken by others", image)
}

// configure takes the device that is free. EBUSY, ENXIO and EEXIST mean that somebody else was faster.
func configure(control, backing *os.File) (*os.File, error) {
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, os.NewSyscallError("LOOP_CTL_GET_FREE", err)
	}
	device, err := openLoop(n)
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{
		Fd:   uint32(backing.Fd()), //nolint:gosec // a file descriptor
		Size: blockSize,
		// Direct I/O: what is cached is cached once, by the file system inside.
		Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO},
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], backing.Name())
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		device.Close()
		return nil, os.NewSyscallError("LOOP_CONFIGURE", err)
	}
	return device, nil
}

// loopMajor is the loop devices' major number.
const loopMajor = 7

// openLoop opens a loop device, whose node is made where /dev does not follow the kernel, as in some containers.
func openLoop(n int) (*os.File, error) {
	path := "/dev/loop" + strconv.Itoa(n)
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return device, err
	}
	err = unix.Mknod(path, unix.S_IFBLK|fileMode, int(unix.Mkdev(loopMajor, uint32(n)))) //nolint:gosec // few
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mknod", Path: path, Err: err}
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// attached finds the loop device that an image has already, because it is mounted somewhere: in another mount namespace,
// or beneath the overlay of a container that runs. A second device for it would be a second file system on the same
// blocks. It is nil when there is none; while the file is open, the device stays.
func attached(image string) (*os.File, error) {
	var want unix.Stat_t
	if err := unix.Stat(image, &want); err != nil {
		return nil, &os.PathError{Op: "stat", Path: image, Err: err}
	}
	// A device without a file behind it has no such directory.
	used, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return nil, err
	}
	for _, dir := range used {
		device, err := os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(dir))), os.O_RDWR, 0)
		if err != nil {
			continue // gone meanwhile, or of another container's /dev
		}
		info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
		if err == nil && info.Device == want.Dev && info.Inode == want.Ino {
			return device, nil
		}
		device.Close()
	}
	return nil, nil
}
