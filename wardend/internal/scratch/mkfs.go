package scratch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// partSuffix is between an image's name and a random number while it is being made.
const partSuffix = ".part-"

// noCopyOnWrite is FS_NOCOW_FL of linux/fs.h: blocks that are written again stay where they are. On a btrfs an image
// would else be in pieces soon; other file systems have no such flag.
const noCopyOnWrite = 0x00800000

// makeImage makes a sparse file with an empty file system by a mkfs program, which gets the arguments and the file's
// name. When the image is there already nothing is done and isNew is false. It is there wholly or not at all: what a
// killed server leaves is removed by the next.
func makeImage(ctx context.Context, o Options, image, mkfs string, args ...string) (isNew bool, err error) {
	dir, name := filepath.Split(image)
	if err := removeParts(dir, name); err != nil {
		return false, err
	}
	if _, err := os.Lstat(image); !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	bytes, err := size(o)
	if err != nil {
		return false, err
	}
	part, err := os.CreateTemp(dir, name+partSuffix+"*")
	if err != nil {
		return false, err
	}
	defer func() {
		part.Close()
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	_ = unix.IoctlSetPointerInt(int(part.Fd()), unix.FS_IOC_SETFLAGS, noCopyOnWrite)
	if err := part.Truncate(int64(bytes)); err != nil { //nolint:gosec // bounded
		return false, err
	}
	if err := run(ctx, mkfs, append(args, part.Name())...); err != nil {
		return false, err
	}
	if err := part.Sync(); err != nil {
		return false, err
	}
	return true, os.Rename(part.Name(), image)
}

// run runs a program that does not outlive us.
func run(ctx context.Context, program string, args ...string) error {
	// The parent, by whose death the program is ended, is the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// removeParts removes what was left of an image that was being made.
func removeParts(dir, name string) error {
	parts, err := filepath.Glob(filepath.Join(dir, name+partSuffix+"*"))
	if err != nil {
		return err
	}
	var failed []error
	for _, part := range parts {
		failed = append(failed, os.Remove(part))
	}
	return errors.Join(failed...)
}
