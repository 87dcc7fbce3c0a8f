package buildpackstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/archive"
)

// unpack makes a buildpack's directory of its zip.
func unpack(ctx context.Context, zip, dir string, options archive.Options) (archive.Unpacked, error) {
	unpacked, err := archive.UnpackZip(ctx, zip, dir, options)
	if err != nil {
		var refused *archive.Error
		if errors.As(err, &refused) {
			return unpacked, fmt.Errorf("%w: %w", ErrUnpack, err)
		}
		return unpacked, fmt.Errorf("unpack the buildpack: %w", err)
	}
	if err := check(dir); err != nil {
		return unpacked, err
	}
	return unpacked, settle(ctx, dir)
}

// settle opens a buildpack to the user of a container, who is not its owner, and writes it to the disk: the name of the
// directory must not outlive its content when the machine loses power.
func settle(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the buildpack: %w", err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("open the buildpack: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		file, err := root.Open(name)
		if err != nil {
			return fmt.Errorf("open the buildpack: %w", err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return fmt.Errorf("open the buildpack: %w", err)
		}
		if err := file.Chmod(settledMode(info.Mode())); err != nil {
			return fmt.Errorf("settle the buildpack: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return syncAll(root)
}

// syncAll writes a directory with all that is in it to the disk. A buildpack may have tens of thousands of files, each of
// which would have to be waited for.
func syncAll(root *os.Root) error {
	dir, err := root.Open(".")
	if err == nil {
		err = errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("settle the buildpack: %w", err)
	}
	return nil
}

// settledMode lets everybody read, and run what its owner may.
func settledMode(mode fs.FileMode) fs.FileMode {
	settled := mode.Perm() | 0o444
	if mode.IsDir() {
		// So that it can be taken away again.
		settled |= 0o700
	}
	if settled&0o100 != 0 {
		settled |= 0o111
	}
	return settled
}
