package buildpackstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/durable-dea/dea/internal/rmtree"
	"github.com/durable-dea/dea/internal/safename"
)

// partLifetime is how long a part of a zip waits to be resumed: longer than any staging tries.
const partLifetime = time.Hour

// Use notes which buildpacks a user uses, in place of what was noted of it before: none of them is removed while the user
// is there. It comes before Ensure. A user is a staging, or whatever else Reap is told of.
func (s *Store) Use(user string, keys ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(s.parts(""), 0o755); err != nil {
		return fmt.Errorf("make the buildpacks' directory: %w", err)
	}
	name := safename.Of(user)
	if err := writeJSON(filepath.Join(s.dir, ".uses", name), s.parts(name+".use"), keys); err != nil {
		return fmt.Errorf("note the use of buildpacks: %w", err)
	}
	return nil
}

// Reap removes the buildpacks that no user uses and that no request has named for the lifetime, and whatever a process
// that died has left. users gives the users that are there, by what safename.Of makes of their names; it is asked while
// nothing else can be noted. It returns the names of the buildpacks' directories. What it cannot remove it leaves to the
// next time, and says so; it ends early, with ctx's error, when ctx does.
func (s *Store) Reap(ctx context.Context, users func() ([]string, error), lifetime time.Duration) ([]string, error) {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	reaped, err := s.hideUnused(users, lifetime)
	if err != nil {
		return reaped, err
	}
	// Hidden from everybody else they may take their time.
	if err := rmtree.Sweep(ctx, s.parts("")); err != nil {
		return reaped, fmt.Errorf("remove a buildpack: %w", err)
	}
	return reaped, nil
}

// hideUnused moves what is to be removed to where nobody looks for it.
func (s *Store) hideUnused(users func() ([]string, error), lifetime time.Duration) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	used, err := s.used(users)
	if err != nil {
		// What is in use is not known.
		return nil, err
	}
	here, err := list(s.dir)
	if err != nil {
		return nil, err
	}
	var reaped []string
	kept := map[string]bool{}
	for _, entry := range here {
		name := entry.Name()
		switch {
		case strings.HasPrefix(name, "."):
			continue
		case used[name], s.busy[name], time.Since(s.lastNamed(name)) < lifetime:
			kept[name] = true
			continue
		}
		if err := s.hide(filepath.Join(s.dir, name)); err != nil {
			return reaped, err
		}
		reaped = append(reaped, name)
	}
	return reaped, errors.Join(s.dropRecords(kept), s.hideParts())
}

// used are the names of the buildpacks in use. The uses of users that are gone are forgotten.
func (s *Store) used(users func() ([]string, error)) (map[string]bool, error) {
	names, err := users()
	if err != nil {
		return nil, fmt.Errorf("ask who uses buildpacks: %w", err)
	}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	notes, err := list(filepath.Join(s.dir, ".uses"))
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, note := range notes {
		path := filepath.Join(s.dir, ".uses", note.Name())
		if !there[note.Name()] {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("forget the use of buildpacks: %w", err)
			}
			continue
		}
		var keys []string
		if err := readJSON(path, &keys); err != nil {
			return nil, fmt.Errorf("read who uses buildpacks: %w", err)
		}
		for _, key := range keys {
			used[safename.Of(key)] = true
		}
	}
	return used, nil
}

// dropRecords removes the records of buildpacks that are not there.
func (s *Store) dropRecords(there map[string]bool) error {
	records, err := list(filepath.Dir(s.recordPath("")))
	for _, entry := range records {
		if !there[strings.TrimSuffix(entry.Name(), ".json")] {
			err = errors.Join(err, os.Remove(s.recordPath(strings.TrimSuffix(entry.Name(), ".json"))))
		}
	}
	return err
}

// hideParts hides what nobody is at: parts only once they are old, everything else at once, since it is of no use.
func (s *Store) hideParts() error {
	entries, err := list(s.parts(""))
	busy := map[string]bool{}
	for name := range s.busy {
		for _, ending := range []string{".part", ".part.version", ".zip", ".new"} {
			busy[name+ending] = true
		}
	}
	for _, entry := range entries {
		name := entry.Name()
		if busy[name] || rmtree.Hidden(name) || isPart(name) && isYoung(entry) {
			continue
		}
		err = errors.Join(err, s.hide(s.parts(name)))
	}
	return err
}

func isPart(name string) bool {
	return strings.HasSuffix(name, ".part") || strings.HasSuffix(name, ".part.version")
}

func isYoung(entry fs.DirEntry) bool {
	info, err := entry.Info()
	return err == nil && time.Since(info.ModTime()) < partLifetime
}

// hide moves a file or directory out of everybody's sight, if it is there.
func (s *Store) hide(path string) error {
	if err := rmtree.Hide(path, s.parts("")); err != nil {
		return fmt.Errorf("take the buildpack out of its place: %w", err)
	}
	return nil
}

// removeTree removes a directory whatever its modes, and follows no link.
func removeTree(path string) error {
	if err := rmtree.All(path); err != nil {
		return fmt.Errorf("remove a buildpack: %w", err)
	}
	return nil
}

// list is what is in a directory, nothing when it is not there.
func list(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the buildpacks: %w", err)
	}
	return entries, nil
}
