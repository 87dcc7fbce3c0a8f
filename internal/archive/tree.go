package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// tree writes beneath a directory. It keeps the directory of the last file open, since the next is mostly beside
// it. It is for one goroutine.
type tree struct {
	root   *os.Root
	dir    string
	parent *os.Root
	buffer []byte
}

func newTree(root *os.Root) *tree {
	return &tree{root: root, buffer: make([]byte, copyBufferSize)}
}

// Close closes the directory that is kept open, not the root.
func (t *tree) Close() error {
	if t.parent == nil {
		return nil
	}
	err := t.parent.Close()
	t.parent, t.dir = nil, ""
	return err
}

// at gives the directory that a name is in, making it when it is not there.
func (t *tree) at(name string) (*os.Root, error) {
	dir := path.Dir(name)
	if dir == "." {
		return t.root, nil
	}
	if t.parent != nil && t.dir == dir {
		return t.parent, nil
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	if err := t.root.MkdirAll(dir, 0o755); err != nil {
		return nil, conflictOr(dir, err)
	}
	parent, err := t.root.OpenRoot(dir)
	if err != nil {
		return nil, conflictOr(dir, err)
	}
	t.dir, t.parent = dir, parent
	return parent, nil
}

// attributes are what an entry has beside its content. Of the mode only the permissions are kept: nobody needs a
// set-user-id bit from an archive.
type attributes struct {
	mode     fs.FileMode
	modified time.Time
}

func (t *tree) file(name string, attr attributes, content io.Reader) error {
	parent, err := t.at(name)
	if err != nil {
		return err
	}
	base := path.Base(name)
	f, err := parent.OpenFile(base, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return conflictOr(name, err)
	}
	err = copyTo(f, content, t.buffer)
	err = errors.Join(err, f.Chmod(attr.mode.Perm()), f.Close())
	if err == nil && !attr.modified.IsZero() {
		err = parent.Chtimes(base, attr.modified, attr.modified)
	}
	return err
}

func (t *tree) directory(name string) error {
	return conflictOr(name, t.root.MkdirAll(name, 0o755))
}

func (t *tree) link(name, target string) error {
	parent, err := t.at(name)
	if err != nil {
		return err
	}
	return conflictOr(name, parent.Symlink(target, path.Base(name)))
}

func (t *tree) hardLink(name, target string) error {
	if _, err := t.at(name); err != nil {
		return err
	}
	// A link to a link would be one that leads somewhere else than this archive's check saw.
	info, err := t.root.Lstat(target)
	if err != nil || !info.Mode().IsRegular() {
		return &Error{Name: name, Words: "is a hard link to what is not in the archive", Cause: ErrLink, Err: err}
	}
	return conflictOr(name, t.root.Link(target, name))
}

// finish gives directories their attributes, the deepest first, since a mode may close a directory and whatever
// is made in one changes its time.
func (t *tree) finish(ctx context.Context, dirs map[string]attributes) error {
	names := make([]string, 0, len(dirs))
	for name := range dirs {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(b, a) })
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		attr := dirs[name]
		// Without these nobody but root could ever delete the directory.
		if err := t.root.Chmod(name, attr.mode.Perm()|0o700); err != nil {
			return err
		}
		if attr.modified.IsZero() {
			continue
		}
		if err := t.root.Chtimes(name, attr.modified, attr.modified); err != nil {
			return err
		}
	}
	return nil
}

// conflictOr tells an entry that stands in another's way from a fault of the machine's.
func conflictOr(name string, err error) error {
	var asPath *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTDIR):
		return &Error{Name: name, Words: "is there twice", Cause: ErrConflict, Err: err}
	case errors.Is(err, syscall.EMLINK):
		return &Error{Name: name, Words: "is one hard link more than a file can have", Cause: ErrTooLarge, Err: err}
	case errors.As(err, &asPath):
		return fmt.Errorf("unpack %s: %w", quote(name), err)
	default:
		return err
	}
}

// openTarget makes the directory, if need be, and opens it as the root of everything that follows.
func openTarget(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenRoot(dir)
}
