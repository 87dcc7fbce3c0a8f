package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/layers"
)

const (
	// maxLinks is how many links a path may lead through: the kernel's own bound.
	maxLinks = 40
	// maxDepth bounds the directories that are open at once.
	maxDepth = 256
)

// merged is what an overlay of layers shows, without the overlay: each name is looked up in every layer's directory
// that takes part, the uppermost first. No component of a path is followed by the kernel, so that a link leads to
// where it does for the container, and never out of the layers.
type merged struct {
	// root is the layers' own directories.
	root dir
}

// dir is a directory of the merged tree: an open directory of each layer that has it, the uppermost first.
type dir struct {
	parts []part
}

// part is a layer's directory.
type part struct {
	fd   int
	path string
}

// entry is what a name stands for: a directory, or something else of one layer. Its owner closes it.
type entry struct {
	dir
	stat unix.Stat_t
	// fd is an O_PATH descriptor of what is no directory; -1 for a directory.
	fd int
	// path is where it was found on this machine.
	path string
}

// openMerged opens layers' directories, the uppermost first. The error is a sentence for the user.
func openMerged(dirs []string) (*merged, error) {
	if len(dirs) == 0 || len(dirs) > layers.MaxLayers {
		return nil, fmt.Errorf("a rootfs has 1 to %d layers, not %d", layers.MaxLayers, len(dirs))
	}
	m := &merged{}
	for _, layer := range dirs {
		// The operator's or the client's own path: links on the way to it are theirs.
		fd, err := unix.Open(layer, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			m.Close()
			return nil, &fs.PathError{Op: "open rootfs", Path: layer, Err: err}
		}
		m.root.parts = append(m.root.parts, part{fd, layer})
	}
	return m, nil
}

// Close lets go of the layers.
func (m *merged) Close() { m.root.close() }

func (d dir) close() {
	for _, p := range d.parts {
		_ = unix.Close(p.fd)
	}
}

func (e *entry) close() {
	e.dir.close()
	if e.fd >= 0 {
		_ = unix.Close(e.fd)
	}
}

func (e *entry) isDir() bool { return e.fd < 0 }

func (e *entry) isRegular() bool { return e.fd >= 0 && e.stat.Mode&unix.S_IFMT == unix.S_IFREG }

// open opens a regular file for reading. Devices and pipes, whose opening alone does something, are refused.
func (e *entry) open() (*os.File, error) {
	if !e.isRegular() {
		return nil, &fs.PathError{Op: "open", Path: e.path, Err: errors.New("it is no file")}
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", e.fd))
}

// find follows a path from the root. Links are followed, the last one too. It fails with fs.ErrNotExist when there is
// no such thing. Seen, if not nil, is called with each directory that is gone through.
func (m *merged) find(name string, seen func(*entry)) (*entry, error) {
	w := walk{seen: seen, name: name}
	defer w.close()
	if err := w.enter(m.root); err != nil {
		return nil, err
	}
	w.push(name)
	for len(w.left) > 0 {
		found, err := w.step()
		if err != nil || found != nil {
			return found, err
		}
	}
	return w.leave()
}

// walk is one find under way.
type walk struct {
	name  string
	seen  func(*entry)
	stack []*entry // the directories from the root to where it is
	left  []string // components still to go, the next one last
	links int
}

func (w *walk) close() {
	for _, e := range w.stack {
		e.close()
	}
}

// enter takes a copy of the root, so that every directory of the stack is closed alike.
func (w *walk) enter(root dir) error {
	e := &entry{fd: -1}
	w.stack = append(w.stack, e)
	for _, p := range root.parts {
		fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		e.parts = append(e.parts, part{fd, p.path})
	}
	e.path = e.parts[0].path
	return w.look(e, unix.Fstat(e.parts[0].fd, &e.stat))
}

func (w *walk) look(e *entry, err error) error {
	if err == nil && w.seen != nil {
		w.seen(e)
	}
	return err
}

// push puts the components of a path before what is left.
func (w *walk) push(name string) {
	parts := strings.Split(name, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] != "" && parts[i] != "." {
			w.left = append(w.left, parts[i])
		}
	}
}

// leave gives the directory that the walk has come to.
func (w *walk) leave() (*entry, error) {
	last := w.stack[len(w.stack)-1]
	w.stack = w.stack[:len(w.stack)-1]
	return last, nil
}

// step goes one component on. It gives what is no directory, if nothing is left to go.
func (w *walk) step() (*entry, error) {
	name := w.left[len(w.left)-1]
	w.left = w.left[:len(w.left)-1]
	if name == ".." {
		if len(w.stack) > 1 {
			w.stack[len(w.stack)-1].close()
			w.stack = w.stack[:len(w.stack)-1]
		}
		return nil, nil
	}
	e, err := w.stack[len(w.stack)-1].child(name)
	if err != nil {
		return nil, w.fail(err)
	}
	switch {
	case e.isDir():
		if len(w.stack) == maxDepth {
			e.close()
			return nil, w.fail(unix.ENAMETOOLONG)
		}
		w.stack = append(w.stack, e)
		return nil, w.look(e, nil)
	case e.stat.Mode&unix.S_IFMT == unix.S_IFLNK:
		defer e.close()
		return nil, w.follow(e)
	case len(w.left) > 0:
		e.close()
		return nil, w.fail(unix.ENOTDIR)
	default:
		return e, nil
	}
}

func (w *walk) fail(err error) error {
	return &fs.PathError{Op: "find in rootfs", Path: w.name, Err: err}
}

func (w *walk) follow(link *entry) error {
	if w.links++; w.links > maxLinks {
		return w.fail(unix.ELOOP)
	}
	to := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link.fd, "", to)
	if err != nil {
		return w.fail(err)
	}
	if n > 0 && to[0] == '/' {
		for _, e := range w.stack[1:] {
			e.close()
		}
		w.stack = w.stack[:1]
	}
	w.push(string(to[:n]))
	return nil
}

// child looks a name up as overlayfs does: the uppermost layer that has it decides, and if that is a directory, those
// of the layers beneath take part in it until one of them has something else.
func (d dir) child(name string) (*entry, error) {
	e := &entry{fd: -1}
	for _, p := range d.parts {
		fd, err := unix.Openat(p.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		var stat unix.Stat_t
		if err == nil {
			err = unix.Fstat(fd, &stat)
		}
		if err != nil {
			e.close()
			return nil, err
		}
		at := path.Join(p.path, name)
		if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			if len(e.parts) > 0 || whiteout(stat) {
				_ = unix.Close(fd)
				break
			}
			return &entry{fd: fd, stat: stat, path: at}, nil
		}
		if len(e.parts) == 0 {
			e.stat, e.path = stat, at
		}
		e.parts = append(e.parts, part{fd, at})
		if opaque(fd) {
			break
		}
	}
	if len(e.parts) == 0 {
		return nil, fs.ErrNotExist
	}
	return e, nil
}

// whiteout says whether a file is overlayfs' mark that what lies beneath was removed.
func whiteout(stat unix.Stat_t) bool {
	return stat.Mode&unix.S_IFMT == unix.S_IFCHR && stat.Rdev == 0
}

// opaque says whether a directory hides those of the layers beneath.
func opaque(fd int) bool {
	// O_PATH descriptors have no attributes of their own.
	var value [1]byte
	n, err := unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", fd), "trusted.overlay.opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}
