package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// namesDir is where the wardends of a kernel tell each other which names they have. Only root can look into it: others
// must not be able to hold a lock there.
const namesDir = "/run/wardend"

// ErrNameInUse: another wardend has the name, and all that has it on the kernel is its own.
var ErrNameInUse = errors.New("the name is another wardend's")

// nameLock is an instance's name, held by a lock that ends with the process.
type nameLock struct{ file *os.File }

const (
	// nameWait is how long a server is waited for that is just ending: its depot is let go of before its name.
	nameWait = 2 * time.Second
	namePoll = 10 * time.Millisecond
)

// lockName takes the name in dir for a depot. The error is ErrNameInUse, with the depot of the one that has it.
func lockName(ctx context.Context, dir, name, depot string) (*nameLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock the name %s: %w", name, err)
	}
	path := filepath.Join(dir, name)
	for late := time.Now().Add(nameWait); ; {
		l, err := tryLockName(path, depot)
		if l != nil {
			return l, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("lock the name %s: %w", name, err)
		}
		if time.Now().After(late) {
			holder, _ := os.ReadFile(path)
			return nil, fmt.Errorf("%w: %s is that of depot %s: choose another --name", ErrNameInUse, name, strings.TrimSpace(string(holder)))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(namePoll):
		}
	}
}

// tryLockName fails with EWOULDBLOCK while another has the name.
func tryLockName(path, depot string) (*nameLock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	l := &nameLock{file: file}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if !l.isAt(path) {
		// Whoever had it has removed it meanwhile.
		return nil, errors.Join(unix.EWOULDBLOCK, file.Close())
	}
	if err := errors.Join(file.Truncate(0), writeAt(file, depot+"\n")); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}

func (l *nameLock) isAt(path string) bool {
	opened, err := l.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(opened, named)
}

// Close lets go of the name.
func (l *nameLock) Close() error {
	var err error
	if l.isAt(l.file.Name()) {
		err = os.Remove(l.file.Name())
	}
	return errors.Join(err, l.file.Close())
}
