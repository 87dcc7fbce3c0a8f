package copytree

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// bufSize is how much is read at once.
	bufSize = 128 << 10
	// inKernel is from which size on the kernel is asked to copy: file systems that can, share the blocks.
	inKernel = 256 << 10
	// step is after how much a large file can be given up.
	step = 16 << 20
	// statBlock is the unit of a file's blocks.
	statBlock = 512
)

// file writes beside the target and renames, so that a reader of the old file is not disturbed.
func (c *copier) file(src dir, name string, dst dir, target string) error {
	// A link or a pipe may have taken its place meanwhile: the one leads elsewhere, the other waits for ever.
	from, err := src.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return atSource(err)
	}
	defer func() { _ = unix.Close(from) }()
	var info unix.Stat_t
	if err := unix.Fstat(from, &info); err != nil {
		return src.fail("stat", name, err)
	}
	if info.Mode&unix.S_IFMT != unix.S_IFREG {
		return src.fail("copy", name, errChanged)
	}
	if special, err := c.special(from, info.Dev); err != nil || special {
		return err
	}
	return c.beside(dst, target, func(temp string) error {
		to, err := dst.open(temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		err = c.write(to, from, info)
		if closeErr := unix.Close(to); err == nil {
			err = closeErr
		}
		if err != nil {
			return dst.fail("write", target, err)
		}
		return nil
	})
}

// beside has something made under a name of its own, and puts it in the target's place. Nothing is left after an error.
func (c *copier) beside(dst dir, target string, create func(temp string) error) error {
	if c.temp == 0 {
		c.temp = rand.Uint64() //nolint:gosec // it need not be a secret: a name that is taken is an error
	}
	c.temps++
	temp := ".copy-" + strconv.FormatUint(c.temp, 36) + "-" + strconv.FormatUint(c.temps, 10) //nolint:mnd // digits and letters
	err := create(temp)
	if err == nil {
		err = dst.rename(temp, target)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		_ = dst.remove(temp)
	}
	return err
}

// write makes an empty file the copy of another.
func (c *copier) write(to, from int, info unix.Stat_t) error {
	var now unix.Stat_t
	if err := unix.Fstat(to, &now); err != nil {
		return err
	}
	if err := c.content(to, from, info); err != nil {
		return err
	}
	if err := c.own(to, now); err != nil {
		return err
	}
	if mode := info.Mode & c.bits; mode != now.Mode&allBits {
		return unix.Fchmod(to, mode) // after the owner: a change of that takes bits away
	}
	return nil
}

// content copies as much as the file had when it was opened, and leaves its holes.
func (c *copier) content(to, from int, info unix.Stat_t) error {
	if info.Blocks*statBlock >= info.Size {
		_, err := c.extent(to, from, 0, info.Size)
		return err
	}
	end := int64(0)
	for end < info.Size {
		start, err := unix.Seek(from, end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || start >= info.Size {
			break // a hole up to its end
		}
		if errors.Is(err, unix.EINVAL) {
			start, err = end, nil // a file system without holes
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(from, start, unix.SEEK_HOLE)
		if err != nil || hole <= start {
			hole = info.Size
		}
		end = min(hole, info.Size)
		whole, err := c.extent(to, from, start, end)
		if err != nil || !whole {
			return err
		}
	}
	return unix.Ftruncate(to, info.Size)
}

// extent copies what is between two places. It is not whole when the file has become shorter.
func (c *copier) extent(to, from int, start, end int64) (whole bool, err error) {
	if end-start >= inKernel {
		if start, err = c.extentInKernel(to, from, start, end); err != nil {
			return false, err
		}
	}
	if c.buf == nil && start < end {
		c.buf = make([]byte, bufSize)
	}
	for done := int64(0); start < end; {
		if done += bufSize; done%step == 0 && c.ctx.Err() != nil {
			return false, c.ctx.Err()
		}
		n, err := retry(func() (int, error) { return unix.Pread(from, c.buf[:min(bufSize, end-start)], start) })
		if err != nil {
			return false, err
		}
		if n == 0 {
			return false, nil
		}
		if err := writeAll(to, c.buf[:n], start); err != nil {
			return false, err
		}
		start += int64(n)
	}
	return true, nil
}

// extentInKernel answers how far it came: not at all where the file systems cannot.
func (c *copier) extentInKernel(to, from int, start, end int64) (int64, error) {
	for start < end {
		if err := c.ctx.Err(); err != nil {
			return start, err
		}
		readAt, writeAt := start, start
		n, _ := retry(func() (int, error) {
			return unix.CopyFileRange(from, &readAt, to, &writeAt, int(min(step, end-start)), 0)
		})
		if n <= 0 {
			break // reading and writing says what is wrong, if anything is
		}
		start += int64(n)
	}
	return start, nil
}

func writeAll(to int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := retry(func() (int, error) { return unix.Pwrite(to, b, at) })
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// link copies a link as a link.
func (c *copier) link(src dir, name string, dst dir, target string) error {
	to, err := src.readlink(name)
	if err != nil {
		if errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("%w: %w", errChanged, err)
		}
		return atSource(err)
	}
	err = dst.symlink(to, target)
	if err == nil {
		return c.ownLink(dst, target)
	}
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if there, err := dst.readlink(target); err == nil && there == to {
		return c.ownLink(dst, target)
	}
	return c.beside(dst, target, func(temp string) error {
		if err := dst.symlink(to, temp); err != nil {
			return err
		}
		return c.ownLink(dst, temp)
	})
}

// ownLink gives a link its owner: a link, whatever has taken its name meanwhile.
func (c *copier) ownLink(dst dir, name string) error {
	if c.owner == nil {
		return nil
	}
	fd, err := dst.open(name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return dst.fail("stat", name, err)
	}
	if info.Mode&unix.S_IFMT != unix.S_IFLNK {
		return dst.fail("chown", name, errChanged)
	}
	return c.own(fd, info)
}
