package initproc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Prepare makes what an init needs that somebody else starts as process 1 of a container: the state directory dir with
// the control socket and the log. Uid and gid are the container's root on the machine: to it belong the directory and
// what the init writes. It can be called again for a directory that was prepared before, when no init lives in it.
//
// Only root can reach the socket: nobody else gets into the directory but the container's root, whose jobs are never
// told where it is. The init itself is given the directory with nothing above it, so that not even one that was taken
// over comes to any other file of the machine by it.
func Prepare(dir string, uid, gid uint32) (in *Inherited, err error) {
	in = &Inherited{}
	defer func() {
		if err != nil {
			in.Close()
			in = nil
			err = fmt.Errorf("prepare %s: %w", dir, err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(dir), dirMode); err != nil {
		return in, err
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return in, err
	}
	state, err := openState(dir)
	if err != nil {
		return in, err
	}
	defer func() { _ = state.Close() }()
	if err := state.empty(); err != nil {
		return in, err
	}
	if err := unix.Mkdirat(state.fd(), jobsName, dirMode); err != nil && !errors.Is(err, unix.EEXIST) {
		return in, fmt.Errorf("make %s: %w", jobsName, err)
	}
	const logFlags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_APPEND | unix.O_NOFOLLOW | unix.O_CLOEXEC
	logFD, err := unix.Openat(state.fd(), logName, logFlags, fileMode)
	if err != nil {
		return in, fmt.Errorf("make %s: %w", logName, err)
	}
	in.Log = os.NewFile(uintptr(logFD), logName)
	if in.Control, err = listen(dir); err != nil {
		return in, err
	}
	if in.State, err = detach(state.File); err != nil {
		return in, err
	}
	return in, state.give(int(uid), int(gid))
}

// empty removes what an earlier init, or an earlier start of this one, has left that is made anew.
func (d *stateDir) empty() error {
	for _, name := range []string{socketName, logName, pidName} {
		if err := unix.Unlinkat(d.fd(), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove old %s: %w", name, err)
		}
	}
	return nil
}

// give makes the directory, and what the init writes in it, the user's. The directory is last: until then nobody else
// can put anything in place of the others.
func (d *stateDir) give(uid, gid int) error {
	for _, name := range []string{jobsName, logName} {
		if err := unix.Fchownat(d.fd(), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("give away %s: %w", name, err)
		}
	}
	if err := d.Chmod(dirMode); err != nil {
		return err
	}
	return d.Chown(uid, gid)
}

const (
	dirMode  = 0o700
	fileMode = 0o600
)
