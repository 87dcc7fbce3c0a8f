// Package copytree copies files and directories with the meaning that rsync gives to source and target, as the Warden
// protocol's copies have: a trailing slash on the source means its content; links are copied as links and modes are
// kept; the last element of the target may be new, its parent not. Devices, pipes and sockets are left out.
package copytree

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
)

// ErrFailed is the protocol's one word for every copy that did not succeed. The cause is wrapped beside it.
var ErrFailed = errors.New("command exited with failure")

// Owner is who copies are to belong to; -1 leaves the user or group as it is.
type Owner struct{ UID, GID int }

// keptBits are the mode bits that are copied.
const keptBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// Copy copies source to target. Owner may be nil. Every error but the context's is ErrFailed.
func Copy(ctx context.Context, source, target string, owner *Owner) error {
	c := copier{ctx: ctx, owner: owner}
	err := c.top(source, target)
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	return fmt.Errorf("%w: %w", ErrFailed, err)
}

type copier struct {
	ctx   context.Context //nolint:containedctx // one call's
	owner *Owner
}

func (c copier) top(source, target string) error {
	content := strings.HasSuffix(source, "/") || strings.HasSuffix(source, "/.")
	stat := os.Lstat
	if content {
		stat = os.Stat
	}
	info, err := stat(source)
	if err != nil {
		return err
	}
	if content && !info.IsDir() {
		return fmt.Errorf("%s is no directory", source)
	}
	into, err := intoDirectory(target, info, content)
	if err != nil {
		return err
	}
	switch {
	case into && !content:
		target = filepath.Join(target, filepath.Base(source))
	case content:
		// The target itself may be a link to a directory; links beneath it are replaced.
		if target, err = filepath.EvalSymlinks(target); err != nil {
			return err
		}
	}
	return c.entry(filepath.Clean(source), filepath.Clean(target), info)
}

// intoDirectory says whether target is a directory that the source goes into, and makes it where the source's kind or
// a trailing slash ask for one.
func intoDirectory(target string, source fs.FileInfo, content bool) (bool, error) {
	info, err := os.Stat(target)
	switch {
	case err == nil && info.IsDir():
		return true, nil
	case err == nil && source.IsDir():
		return false, fmt.Errorf("%s is no directory", target)
	case err == nil:
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	case !source.IsDir() && !strings.HasSuffix(target, "/"):
		return false, nil
	}
	mode := fs.FileMode(0o755) //nolint:mnd // rsync's for what it makes up
	if content {
		mode = 0o700 // the source's own is set at the end
	}
	return true, os.Mkdir(filepath.Clean(target), mode)
}

func (c copier) entry(source, target string, info fs.FileInfo) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return c.directory(source, target, info)
	case fs.ModeSymlink:
		return c.link(source, target)
	case 0:
		return c.file(source, target, info)
	default:
		return nil
	}
}

func (c copier) directory(source, target string, info fs.FileInfo) error {
	there, err := os.Lstat(target)
	if err == nil && !there.IsDir() {
		if err := os.Remove(target); err != nil {
			return err
		}
	}
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !there.IsDir()) {
		err = os.Mkdir(target, 0o700)
	}
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return err
		}
		if err := c.entry(filepath.Join(source, entry.Name()), filepath.Join(target, entry.Name()), info); err != nil {
			return err
		}
	}
	if err := c.own(target); err != nil {
		return err
	}
	return os.Chmod(target, info.Mode()&keptBits)
}

func (c copier) link(source, target string) error {
	to, err := os.Readlink(source)
	if err != nil {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(to, target); err != nil {
		return err
	}
	return c.own(target)
}

// file writes beside the target and renames, so that a reader of the old file is not disturbed.
func (c copier) file(source, target string, info fs.FileInfo) error {
	// A link or a pipe may have taken its place meanwhile: the one leads elsewhere, the other waits for ever.
	from, err := os.OpenFile(source, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	if now, err := from.Stat(); err != nil || !now.Mode().IsRegular() {
		return fmt.Errorf("%s is no file any more", source)
	}
	to, err := os.CreateTemp(filepath.Dir(target), ".copy-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(to.Name()) }()
	if err := c.content(to, from); err != nil {
		_ = to.Close()
		return err
	}
	if err := to.Close(); err != nil {
		return err
	}
	if err := c.own(to.Name()); err != nil {
		return err
	}
	if err := os.Chmod(to.Name(), info.Mode()&keptBits); err != nil {
		return err
	}
	if there, err := os.Lstat(target); err == nil && there.IsDir() {
		if err := os.Remove(target); err != nil {
			return err
		}
	}
	return os.Rename(to.Name(), target)
}

// content copies in steps, so that a large file can be given up.
func (c copier) content(to, from *os.File) error {
	const step = 16 << 20
	for {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		_, err := io.CopyN(to, from, step)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c copier) own(path string) error {
	if c.owner == nil {
		return nil
	}
	return os.Lchown(path, c.owner.UID, c.owner.GID)
}
