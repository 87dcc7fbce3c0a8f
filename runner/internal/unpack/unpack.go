// Package unpack puts a droplet into an instance's container.
package unpack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/runspec"
)

// Unpacker unpacks the droplet of one container.
type Unpacker struct {
	// Root is the container's root directory; empty in a container that has its own.
	Root string
	// Stderr receives what went wrong: with ExitBadDroplet a sentence for the user.
	Stderr io.Writer
}

const (
	// pathLock is locked while somebody unpacks, and not empty once that is done.
	pathLock = "/tmp/.dea-unpack"
	// partDir, in the home directory, is what an unpacking that died left behind.
	partDir = ".dea-unpack"
)

// Run unpacks the droplet into the home directory and makes the link to the app. It gives the exit status. Twice,
// also at the same time, it unpacks once: an app that may have begun to run is left alone.
func (u Unpacker) Run(ctx context.Context) int {
	err := u.once(ctx)
	var refused *archive.Error
	switch {
	case err == nil:
		return runspec.ExitOK
	case errors.As(err, &refused):
		fmt.Fprintln(u.Stderr, "The droplet cannot be used:", refused.Error())
		return runspec.ExitBadDroplet
	default:
		fmt.Fprintln(u.Stderr, "dea-runner unpack:", err)
		return runspec.ExitInternal
	}
}

func (u Unpacker) path(contract string) string { return runspec.Beneath(u.Root, contract) }

func (u Unpacker) once(ctx context.Context) error {
	lock, err := os.OpenFile(u.path(pathLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := flock(lock); err != nil {
		return fmt.Errorf("wait for another unpacking: %w", err)
	}
	info, err := lock.Stat()
	if err != nil {
		return err
	}
	if info.Size() > 0 {
		return nil
	}
	if err := u.unpack(ctx); err != nil {
		return err
	}
	_, err = lock.WriteString("unpacked\n")
	return err
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// unpack unpacks beside the app's place and moves what it has there, so that a droplet that turns out to be broken
// leaves nothing.
func (u Unpacker) unpack(ctx context.Context) error {
	home := u.path(runspec.PathHome)
	part := filepath.Join(home, partDir)
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	droplet := filepath.Join(u.path(runspec.PathDroplet), runspec.FileDroplet)
	options := archive.Options{FromContainer: true}
	if _, err := archive.UnpackTarFile(ctx, droplet, part, options); err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	if err := move(part, home); err != nil {
		return err
	}
	for _, dir := range []string{runspec.PathInstanceApp, runspec.PathLogs, runspec.PathHome + "/tmp"} {
		if err := os.MkdirAll(u.path(dir), 0o755); err != nil {
			return err
		}
	}
	return u.linkApp()
}

// move moves what is in a directory to another, replacing what is there.
func move(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		target := filepath.Join(to, entry.Name())
		if err := os.RemoveAll(target); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(from, entry.Name()), target); err != nil {
			return err
		}
	}
	return os.Remove(from)
}

// linkApp makes /app, if nothing has that name. In a container of its own the node has made it as root.
func (u Unpacker) linkApp() error {
	target := strings.TrimPrefix(runspec.PathInstanceApp, "/")
	err := os.Symlink(target, u.path(runspec.PathApp))
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return err
}
