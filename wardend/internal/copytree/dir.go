package copytree

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// dir is an open directory. Its methods take the name of an entry, never a path, and follow no link.
type dir struct{ f *os.File }

// handle is what is needed of a directory to work in it: it may be one that cannot be read.
const handle = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC

// readable is for a directory that is to be listed.
const readable = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC

func (d dir) close() { _ = d.f.Close() }

// name is for messages.
func (d dir) name() string { return d.f.Name() }

func (d dir) fd() int { return int(d.f.Fd()) }

func (d dir) fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: d.f.Name() + "/" + name, Err: err}
}

// open opens an entry.
func (d dir) open(name string, flags int, mode uint32) (int, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd(), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode) })
	if err != nil {
		return -1, d.fail("open", name, err)
	}
	return fd, nil
}

// sub opens a directory in this one.
func (d dir) sub(name string, flags int) (dir, error) {
	fd, err := d.open(name, flags, 0)
	if err != nil {
		return dir{}, err
	}
	return dir{os.NewFile(uintptr(fd), d.f.Name()+"/"+name)}, nil
}

// stat looks at the directory itself.
func (d dir) stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd(), &st); err != nil {
		return st, &fs.PathError{Op: "stat", Path: d.f.Name(), Err: err}
	}
	return st, nil
}

// lstat looks at an entry.
func (d dir) lstat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return st, d.fail("stat", name, err)
	}
	return st, nil
}

func (d dir) mkdir(name string, mode uint32) error {
	if err := unix.Mkdirat(d.fd(), name, mode); err != nil {
		return d.fail("mkdir", name, err)
	}
	return nil
}

func (d dir) remove(name string) error {
	if err := unix.Unlinkat(d.fd(), name, 0); err != nil {
		return d.fail("remove", name, err)
	}
	return nil
}

func (d dir) symlink(to, name string) error {
	if err := unix.Symlinkat(to, d.fd(), name); err != nil {
		return d.fail("symlink", name, err)
	}
	return nil
}

func (d dir) readlink(name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(d.fd(), name, buf)
	if err != nil {
		return "", d.fail("readlink", name, err)
	}
	return string(buf[:n]), nil
}

// rename puts an entry in the place of another, of this same directory. An empty directory makes way.
func (d dir) rename(from, to string) error {
	err := unix.Renameat(d.fd(), from, d.fd(), to)
	if errors.Is(err, unix.EISDIR) {
		if err := unix.Unlinkat(d.fd(), to, unix.AT_REMOVEDIR); err != nil {
			return d.fail("remove", to, err)
		}
		err = unix.Renameat(d.fd(), from, d.fd(), to)
	}
	if err != nil {
		return d.fail("rename", to, err)
	}
	return nil
}

// chmod works on a directory that was opened as a handle, too, which fchmod does not.
func (d dir) chmod(mode uint32) error {
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(d.fd()), mode); err != nil {
		return &fs.PathError{Op: "chmod", Path: d.f.Name(), Err: err}
	}
	return nil
}

// retry calls f again while a signal interrupts it: a file system in user space or on the network may take its time.
func retry[T any](f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}
