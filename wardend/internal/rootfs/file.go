package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// procPath is a path to what a descriptor refers to, an O_PATH one too.
func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// copyStep in bytes is how much is copied before looking whether to stop.
const copyStep = 16 << 20

// file brings a file into the rootfs: linked where the machine's own inode will do, else copied.
func (b *builder) file(o *object, r rules) error {
	privileged, err := b.privileged(o)
	if err != nil {
		return err
	}
	foreign := o.stat.Uid > MaxID || o.stat.Gid > MaxID
	if !b.copyAll && !r.edited && !privileged && !foreign && !b.apart[o.stat.Dev] {
		linked, err := b.link(o)
		if linked || err != nil {
			return err
		}
	}
	if r.edited {
		if private, err := holdsKey(o); private || err != nil {
			b.sum.leaveOut(ReasonSecret, o.at)
			return err
		}
	}
	if privileged {
		b.sum.change(ReasonPrivileges, o.at)
	}
	return b.copy(o, !privileged && !r.edited)
}

// privileged says whether running the file gives rights that its caller does not have. These belong to the inode: a
// link would have them too.
func (b *builder) privileged(o *object) (bool, error) {
	if o.stat.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		return true, nil
	}
	_, err := unix.Getxattr(o.proc(), "security.capability", nil)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return false, nil
	}
	return false, o.fail("look for capabilities of", err)
}

// link gives the machine's file one more name, in the rootfs; false when that cannot be.
func (b *builder) link(o *object) (bool, error) {
	at := filepath.Join(b.to, o.name)
	err := unix.Linkat(unix.AT_FDCWD, o.proc(), unix.AT_FDCWD, at, unix.AT_SYMLINK_FOLLOW)
	switch {
	case err == nil:
		b.sum.Files++
		b.sum.Bytes.Linked += uint64(o.stat.Size)
		return true, nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOTSUP):
		b.apart[o.stat.Dev] = true
		return false, nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EMLINK), errors.Is(err, unix.ENOENT):
		// Immutable, linked too often already, or removed meanwhile, which the descriptor outlives.
		return false, nil
	}
	return false, &os.LinkError{Op: "link", Old: o.at, New: at, Err: err}
}

// copy copies a file, without privileges. Many is whether its other names may come by too, and share the copy.
func (b *builder) copy(o *object, many bool) error {
	at := filepath.Join(b.to, o.name)
	many = many && o.stat.Nlink > 1
	if earlier, found := b.copied[o.key()]; found && many && os.Link(earlier, at) == nil {
		b.sum.Files++
		return nil
	}
	from, err := os.Open(o.proc())
	if err != nil {
		return o.fail("open", err)
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = b.content(to, from)
	uid, gid := owner(o)
	err = errors.Join(err, to.Chown(uid, gid), to.Chmod(fs.FileMode(o.stat.Mode)&fs.ModePerm), to.Close())
	if err != nil {
		return err
	}
	if many {
		b.copied[o.key()] = at
	}
	b.sum.Files++
	return keepTime(at, o)
}

// content shares the data where the file system can, or copies it in steps, so that it can be given up.
func (b *builder) content(to, from *os.File) error {
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		info, err := to.Stat()
		if err == nil {
			b.sum.Bytes.Reflinked += uint64(info.Size())
		}
		return err
	}
	for {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(to, from, copyStep)
		b.sum.Bytes.Copied += uint64(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b.progress()
	}
}

// holdsKey says whether a file of a configuration directory is, or has in it, a private key in PEM.
func holdsKey(o *object) (bool, error) {
	f, err := os.Open(o.proc())
	if err != nil {
		return false, o.fail("open", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile))
	return bytes.Contains(raw, []byte("PRIVATE KEY-----")), err
}
