package copytree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories deep a tree may be. Each level has two files open; paths of 4096 characters, more
// than which no program can name, are rarely half as deep.
const maxDepth = 512

// listed is how many names of a directory are read at once.
const listed = 512

var (
	errKernels = errors.New("it is of the kernel's own file systems")
	errTooDeep = fmt.Errorf("directories are more than %d deep", maxDepth)
	errChanged = errors.New("it was changed while it was copied")
	errGone    = errors.New("it is gone")
)

// copier is one copy.
type copier struct {
	ctx   context.Context //nolint:containedctx // one call's
	owner *Owner
	// bits are the mode bits that are copied.
	bits uint32
	// chownAll: directories that were there already get the owner, too, whoever has them.
	chownAll bool
	// into is the directory that is copied into, which may lie in the one that is copied.
	into  identity
	depth int
	// kernels has the file systems that were looked at, by device.
	kernels map[uint64]bool
	buf     []byte
	// temp and temps make the names of files that are not whole yet.
	temp  uint64
	temps uint64
}

// identity tells directories apart.
type identity struct{ dev, ino uint64 }

func identityOf(st unix.Stat_t) identity { return identity{st.Dev, st.Ino} }

// entry copies what src calls name to what dst is to call target. It is errGone when there is nothing of that name.
func (c *copier) entry(src dir, name string, dst dir, target string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	info, err := src.lstat(name)
	if err != nil {
		return atSource(err)
	}
	switch info.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.directory(src, name, dst, target)
	case unix.S_IFLNK:
		return c.link(src, name, dst, target)
	case unix.S_IFREG:
		return c.file(src, name, dst, target)
	}
	return nil
}

func (c *copier) directory(src dir, name string, dst dir, target string) error {
	from, err := src.sub(name, readable)
	if err != nil {
		return atSource(err)
	}
	defer from.close()
	info, err := from.stat()
	if err != nil {
		return err
	}
	if special, err := c.special(from.fd(), info.Dev); err != nil || special {
		return err
	}
	if c.depth > 0 && identityOf(info) == c.into {
		return nil // it would be copied into itself, without end
	}
	to, made, err := makeDirectory(dst, target)
	if err != nil {
		return err
	}
	defer to.close()
	if c.depth == 0 {
		there, err := to.stat()
		if err != nil {
			return err
		}
		c.into = identityOf(there)
	}
	return c.fill(from, info, to, made)
}

// makeDirectory opens the directory of a name, which it makes if there is none. What else has the name makes way.
func makeDirectory(dst dir, name string) (d dir, made bool, err error) {
	err = dst.mkdir(name, 0o700) // the source's own is set at the end
	if err == nil || !errors.Is(err, fs.ErrExist) {
		if err == nil {
			d, err = dst.sub(name, handle)
		}
		return d, true, err
	}
	d, err = dst.sub(name, handle)
	if !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		return d, false, err
	}
	if err := dst.remove(name); err != nil {
		return dir{}, false, err
	}
	if err := dst.mkdir(name, 0o700); err != nil {
		return dir{}, false, err
	}
	d, err = dst.sub(name, handle)
	return d, true, err
}

// fill copies the content of one directory into another, and then its permissions.
func (c *copier) fill(from dir, info unix.Stat_t, to dir, made bool) error {
	if c.depth++; c.depth > maxDepth {
		return fmt.Errorf("%s: %w", from.name(), errTooDeep)
	}
	defer func() { c.depth-- }()
	there, err := to.stat()
	if err != nil {
		return err
	}
	if identityOf(info) == identityOf(there) {
		return nil // onto itself
	}
	if special, err := c.special(to.fd(), there.Dev); err != nil || special {
		return errors.Join(err, to.fail("copy into", ".", errKernels))
	}
	for {
		names, err := from.f.Readdirnames(listed)
		for _, name := range names {
			if err := c.entry(from, name, to, name); err != nil && !errors.Is(err, errGone) {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if !made && !c.chownAll && c.owner != nil && int64(there.Uid) != int64(c.owner.UID) {
		return nil
	}
	if err := c.own(to.fd(), there); err != nil {
		return err
	}
	return to.chmod(info.Mode & c.bits)
}

// own gives what is open its owner.
func (c *copier) own(fd int, now unix.Stat_t) error {
	if c.owner == nil {
		return nil
	}
	same := func(want int, is uint32) bool { return want == -1 || int64(want) == int64(is) }
	if same(c.owner.UID, now.Uid) && same(c.owner.GID, now.Gid) {
		return nil
	}
	if err := unix.Fchownat(fd, "", c.owner.UID, c.owner.GID, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	return nil
}

// atSource tells what a container may do to its tree while it is copied from what is wrong.
func atSource(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: %w", errGone, err)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: %w", errChanged, err)
	}
	return err
}
