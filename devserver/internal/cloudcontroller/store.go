package cloudcontroller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// Directories of the store.
const (
	appsDir       = "apps"
	buildpacksDir = "buildpacks"
	jobsDir       = "jobs"
	uploadsDir    = "uploads"
	trashDir      = "trash"
)

// maxNameBytes bounds a name on disk, with room for a suffix below the 255 bytes that file systems allow.
const maxNameBytes = 200

// store is the directory below which everything is kept. It is an os.Root, so that no mistake in a name can reach
// anything outside.
type store struct {
	root *os.Root
	lock *os.File
}

// openStore makes dir if need be and takes it for this process alone.
func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s := &store{root: root}
	if err := s.prepare(); err != nil {
		_ = s.close()
		return nil, err
	}
	return s, nil
}

func (s *store) prepare() error {
	lock, err := s.root.OpenFile("lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the store's lock: %w", err)
	}
	s.lock = lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("the store in %s is in use by another process", s.root.Name())
		}
		return fmt.Errorf("lock the store: %w", err)
	}
	for _, dir := range []string{appsDir, buildpacksDir, jobsDir, uploadsDir, trashDir} {
		if err := s.root.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("prepare the store: %w", err)
		}
	}
	return nil
}

func (s *store) close() error {
	var lockErr error
	if s.lock != nil {
		lockErr = s.lock.Close()
	}
	return errors.Join(lockErr, s.root.Close())
}

// receive copies r to a new file in uploads and syncs it. On an error nothing is left.
func (s *store) receive(r io.Reader) (name string, err error) {
	name = path.Join(uploadsDir, uuid.NewString())
	f, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		// The kernel's own time of a file moves on in steps of milliseconds: two uploads of one size could have the
		// same, and with it the same tag.
		now := time.Now()
		err = s.root.Chtimes(name, now, now)
	}
	if err != nil {
		return "", errors.Join(err, s.root.Remove(name))
	}
	return name, nil
}

// move gives a received file its name, in place of what had it before.
func (s *store) move(from, to string) error {
	if err := s.root.Rename(from, to); err != nil {
		return err
	}
	return s.syncDir(path.Dir(to))
}

// putJSON writes a value under a name: after a crash there is the old one or the new one.
func (s *store) putJSON(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp, err := s.receive(strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	if err := s.move(tmp, name); err != nil {
		return errors.Join(err, s.discard(tmp))
	}
	return nil
}

// discard removes a file; one that is not there is no error.
func (s *store) discard(name string) error {
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *store) exists(name string) bool {
	_, err := s.root.Stat(name)
	return err == nil
}

// list gives the names in a directory of the store, sorted.
func (s *store) list(dir string) ([]fs.DirEntry, error) {
	return fs.ReadDir(s.root.FS(), dir)
}

func (s *store) syncDir(name string) error {
	dir, err := s.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// sweep removes what a process that died was receiving or deleting, but for the uploads in keep.
func (s *store) sweep(keep map[string]bool) error {
	for _, dir := range []string{uploadsDir, trashDir} {
		entries, err := s.list(dir)
		if err != nil {
			return fmt.Errorf("look for what an earlier run left: %w", err)
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			if keep[name] {
				continue
			}
			if err := s.root.RemoveAll(name); err != nil {
				return fmt.Errorf("remove what an earlier run left: %w", err)
			}
		}
	}
	return nil
}

// safeName makes a file name of an app's or task's id: different ids give different names, and none is hidden,
// has a separator or means a directory. ok is false for an id that is empty or too long.
func safeName(id string) (name string, ok bool) {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(id) {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String(), b.Len() > 0 && b.Len() <= maxNameBytes
}
