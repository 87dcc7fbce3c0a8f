package initproc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// stateDir is a state directory as who drives the init sees it. What lies there was written by the init, and the init
// of a container may have been taken over by the container's root: so nothing there is followed, waited for or read
// without bounds.
type stateDir struct{ *os.File }

// openState opens a state directory. The way to it is trusted: it leads through directories of root's.
func openState(dir string) (*stateDir, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &stateDir{os.NewFile(uintptr(fd), dir)}, nil
}

func (d *stateDir) fd() int { return int(d.Fd()) }

// jobs opens the directory of the jobs.
func (d *stateDir) jobs() (*stateDir, error) {
	fd, err := unix.Openat(d.fd(), jobsName, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.Name() + "/" + jobsName, Err: err}
	}
	return &stateDir{os.NewFile(uintptr(fd), d.Name()+"/"+jobsName)}, nil
}

// openJobs opens the directory of the jobs in a state directory.
func openJobs(dir string) (*stateDir, error) {
	state, err := openState(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = state.Close() }()
	return state.jobs()
}

var errNotRegular = errors.New("not a regular file")

// open opens a regular file of the directory for reading.
func (d *stateDir) open(name string) (*os.File, error) {
	// What is no file must not keep anybody waiting.
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.Name() + "/" + name, Err: err}
	}
	var stat unix.Stat_t
	if err = unix.Fstat(fd, &stat); err == nil && stat.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errNotRegular
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: d.Name() + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), d.Name()+"/"+name), nil
}

// maxStateFile bounds a file of an init that holds JSON, in bytes: it is one small object.
const maxStateFile = 4 << 10

// readJSON reads a small file.
func (d *stateDir) readJSON(name string, v any) error {
	f, err := d.open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxStateFile+1))
	if err != nil {
		return err
	}
	if len(raw) > maxStateFile {
		return fmt.Errorf("%s is longer than %d bytes", f.Name(), maxStateFile)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// remove removes a file; that there is none is no error.
func (d *stateDir) remove(name string) error {
	if err := unix.Unlinkat(d.fd(), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: d.Name() + "/" + name, Err: err}
	}
	return nil
}

// socket gives a path by which the control socket, and nothing else, can be connected to for as long as the file is
// open.
func (d *stateDir) socket() (*os.File, string, error) {
	fd, err := unix.Openat(d.fd(), socketName, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", &fs.PathError{Op: "open", Path: d.Name() + "/" + socketName, Err: err}
	}
	f := os.NewFile(uintptr(fd), socketName)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		_ = f.Close()
		return nil, "", fmt.Errorf("look at %s: %w", socketName, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		_ = f.Close()
		return nil, "", fmt.Errorf("%s/%s: %w", d.Name(), socketName, errNotSocket)
	}
	return f, "/proc/self/fd/" + strconv.Itoa(fd), nil
}

var errNotSocket = errors.New("not a socket")
