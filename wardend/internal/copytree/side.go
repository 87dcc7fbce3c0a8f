package copytree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// side is where paths are looked up: on the host as any program does, or in a container's tree, of which no path leads
// out.
type side struct {
	// root is nil on the host.
	root *os.File
}

func inRoot(root *os.Root) (side, error) {
	f, err := root.Open(".")
	if err != nil {
		return side{}, err
	}
	return side{f}, nil
}

func (s side) close() { _ = s.root.Close() }

// lostRaces is how often a path is looked up again when the tree was changed under it. A process that does nothing
// but rename directories can make one fail, not more.
const lostRaces = 100

// open opens a directory, all links in its path followed.
func (s side) open(path string, flags int) (dir, error) {
	if path == "" {
		return dir{}, &fs.PathError{Op: "open", Path: path, Err: unix.ENOENT}
	}
	if strings.ContainsRune(path, 0) {
		return dir{}, &fs.PathError{Op: "open", Path: path, Err: unix.EINVAL}
	}
	fd, err := retry(func() (int, error) {
		if s.root == nil {
			return unix.Open(path, flags, 0)
		}
		return s.openat2(path, flags)
	})
	if err != nil {
		return dir{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return dir{os.NewFile(uintptr(fd), path)}, nil
}

func (s side) openat2(path string, flags int) (fd int, err error) {
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS} //nolint:gosec // flags are positive
	for range lostRaces {
		fd, err = unix.Openat2(int(s.root.Fd()), path, &how)
		if !errors.Is(err, unix.EAGAIN) {
			break
		}
	}
	return fd, err
}

// source is what is to be copied.
type source struct {
	// dir is the directory that holds it; or, when only its content is meant, itself.
	dir     dir
	content bool
	// name and isDir are of an entry, not of content.
	name  string
	isDir bool
}

// source finds what is to be copied. Its own last element is not followed, but with a trailing slash.
func (s side) source(path string) (source, error) {
	if meansContent(path) {
		d, err := s.open(path, readable)
		return source{dir: d, content: true}, err
	}
	parent, name := split(path)
	d, err := s.open(parent, handle)
	if err != nil {
		return source{}, err
	}
	info, err := d.lstat(name)
	if err != nil {
		d.close()
		return source{}, err
	}
	return source{dir: d, name: name, isDir: info.Mode&unix.S_IFMT == unix.S_IFDIR}, nil
}

// target is where copies go.
type target struct {
	// dir is the directory that the copy becomes an entry of, with the name; or that the content goes into.
	dir  dir
	name string
	// made says that the directory was not there before.
	made bool
}

// target finds where a source goes to, and makes the directory that it goes into where that may be new.
func (s side) target(path string, src source) (target, error) {
	d, err := s.open(path, handle)
	if err == nil {
		return target{dir: d, name: src.name}, nil
	}
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		return target{}, err
	}
	// Nothing is there yet, or something that is no directory.
	slash := strings.HasSuffix(path, "/")
	parentPath, name := split(strings.TrimRight(path, "/"))
	if name == "" || name == "." || name == ".." {
		return target{}, err
	}
	parent, err := s.open(parentPath, handle)
	if err != nil {
		return target{}, err
	}
	if !src.isDir && !src.content && !slash {
		return target{dir: parent, name: name}, nil
	}
	defer parent.close()
	mode := uint32(0o755) // rsync's for what it makes up
	if src.content {
		mode = 0o700 // the source's own is set at the end
	}
	if err := parent.mkdir(name, mode); err != nil {
		return target{}, fmt.Errorf("no directory to copy into: %w", err)
	}
	d, err = parent.sub(name, handle)
	return target{dir: d, name: src.name, made: true}, err
}

// meansContent says whether a source means what is in it: with a slash, or named by where it lies.
func meansContent(path string) bool {
	_, name := split(path)
	return name == "" || name == "." || name == ".."
}

// split cuts a path before its last element, without making it any cleaner: ".." after a link is not what it looks like.
func split(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '/')
	switch {
	case i < 0:
		return ".", path
	case i == 0:
		return "/", path[1:]
	}
	return path[:i], path[i+1:]
}
