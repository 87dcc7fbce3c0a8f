package droplets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/durable-dea/dea/internal/safename"
)

// Use is one droplet that one instance uses.
type Use struct {
	SHA1 string
	// Instance is what safename.Of makes of the instance's id.
	Instance string
}

// uses is the directory that holds a droplet's uses. Its time is when the last one began or ended.
func (s *Store) uses(sha1 string) string { return filepath.Join(s.dir, ".uses", sha1) }

// Claim notes that an instance uses a droplet, which need not be here yet: it is not removed until Release. Twice is once.
// Its errors are ErrBadDigest and those of the file system.
func (s *Store) Claim(instance, sha1 string) error {
	sha1, err := canonical(sha1)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.touch(sha1); err != nil {
		return err
	}
	// An empty file, unless its instance notes something in it: there is nothing that a loss of power could tear.
	file, err := os.OpenFile(s.use(instance, sha1), os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return fmt.Errorf("note the use of a droplet: %w", err)
	}
	return nil
}

// Note keeps a few bytes for an instance that has claimed a droplet, for as long as it uses it. A process that dies here
// leaves all of them or none; a loss of power may tear them. Its errors are ErrBadDigest and those of the file system.
func (s *Store) Note(instance, sha1 string, note []byte) error {
	sha1, err := canonical(sha1)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.WriteFile(s.use(instance, sha1), note, 0o600); err != nil {
		return fmt.Errorf("note beside the use of a droplet: %w", err)
	}
	return nil
}

// Noted is what Note kept; empty when an instance that has claimed the droplet noted nothing. Its errors are ErrBadDigest
// and those of the file system, fs.ErrNotExist for an instance that does not use the droplet.
func (s *Store) Noted(instance, sha1 string) ([]byte, error) {
	sha1, err := canonical(sha1)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return os.ReadFile(s.use(instance, sha1))
}

// use is the file that stands for one use.
func (s *Store) use(instance, sha1 string) string {
	return filepath.Join(s.uses(sha1), safename.Of(instance))
}

// Release ends the use of a droplet by an instance. It is no error when there is none.
func (s *Store) Release(instance, sha1 string) error {
	return s.Drop(Use{SHA1: sha1, Instance: safename.Of(instance)})
}

// Drop is Release of uses that Uses gave.
func (s *Store) Drop(uses ...Use) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	for _, use := range uses {
		sha1, err := canonical(use.SHA1)
		if err == nil {
			err = os.Remove(filepath.Join(s.uses(sha1), use.Instance))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("end the use of a droplet: %w", err))
		}
	}
	return failed
}

// Uses are all that are noted, in no particular order. Its errors are those of the file system.
func (s *Store) Uses() ([]Use, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	used, err := list(s.uses(""))
	var all []Use
	for _, sha1 := range used {
		if Check(sha1.Name()) != nil {
			continue
		}
		instances, listErr := list(s.uses(sha1.Name()))
		err = errors.Join(err, listErr)
		for _, instance := range instances {
			all = append(all, Use{SHA1: sha1.Name(), Instance: instance.Name()})
		}
	}
	return all, err
}

// touch notes that a droplet comes or is used now.
func (s *Store) touch(sha1 string) error {
	dir, now := s.uses(sha1), time.Now()
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.Chtimes(dir, now, now)
	}
	if err != nil {
		return fmt.Errorf("note the use of a droplet: %w", err)
	}
	return nil
}

// list is what is in a directory, nothing when it is not there.
func list(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the droplets: %w", err)
	}
	return entries, nil
}
