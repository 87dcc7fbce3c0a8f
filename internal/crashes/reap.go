package crashes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/durable-dea/dea/internal/rmtree"
)

// Reap removes what is older than the lifetime, all but the latest crash of each app, and what a process that died left
// half made. Where the disk is fuller than it may be, the oldest go one by one until it is not. Two calls at once
// follow one another. It costs one look at the directory, a small file for each crash, and a statfs. It ends early, with
// ctx's error, when ctx does.
func (s *Store) Reap(ctx context.Context) error {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	kept, err := s.survey()
	failed := []error{err}
	slices.SortFunc(kept, func(a, b crashDir) int { return b.At.Compare(a.At) })
	seen := map[string]bool{}
	kept = slices.DeleteFunc(kept, func(c crashDir) bool {
		old := s.now().Sub(c.At) >= s.options.Lifetime || c.AppID != "" && seen[c.AppID]
		seen[c.AppID] = true
		if old {
			failed = append(failed, s.hide(c.name))
		}
		return old
	})
	failed = append(failed, s.sweep(ctx), s.makeRoom(ctx, kept))
	return errors.Join(failed...)
}

// makeRoom removes the oldest of those that are kept, the latest coming first, while the disk is too full.
func (s *Store) makeRoom(ctx context.Context, kept []crashDir) error {
	for _, oldest := range slices.Backward(kept) {
		full, err := s.options.Disk.Exceeded()
		if err != nil || !full {
			return err
		}
		// What the disk holds is not less before it is removed.
		if err := errors.Join(s.hide(oldest.name), s.sweep(ctx)); err != nil {
			return err
		}
		s.options.Log.Warn("the node's disk is fuller than it may be, removed what was kept of a crash",
			"instance", cmp.Or(oldest.InstanceID, oldest.name), "app", oldest.AppID, "crashed", oldest.At)
	}
	return nil
}

// crashDir is one crash on the disk.
type crashDir struct {
	Crash
	name string
}

// survey lists what is kept, and hides what is half made. A crash without a record is of no app and as old as its
// directory.
func (s *Store) survey() ([]crashDir, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := list(s.dir)
	var kept []crashDir
	for _, entry := range entries {
		if !entry.IsDir() || entry.Name() == partsDir {
			continue
		}
		crash, err := readRecord(filepath.Join(s.dir, entry.Name()))
		if info, other := entry.Info(); err != nil && other == nil {
			crash = Crash{At: info.ModTime()}
		}
		kept = append(kept, crashDir{crash, entry.Name()})
	}
	return kept, errors.Join(err, s.hideParts())
}

// hideParts hides what a process that died left half made.
func (s *Store) hideParts() error {
	entries, err := list(s.parts())
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, newEnding) && !s.busy[name] {
			err = errors.Join(err, rmtree.Hide(filepath.Join(s.parts(), name), s.parts()))
		}
	}
	return err
}

// list is what is in a directory, nothing when it is not there.
func list(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the crashes: %w", err)
	}
	return entries, nil
}

// hide takes a crash out of sight, so that nobody finds a part of it.
func (s *Store) hide(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := rmtree.Hide(filepath.Join(s.dir, name), s.parts()); err != nil {
		return fmt.Errorf("remove a crash: %w", err)
	}
	return nil
}

// sweep removes what is hidden.
func (s *Store) sweep(ctx context.Context) error {
	if err := rmtree.Sweep(ctx, s.parts()); err != nil {
		return fmt.Errorf("remove a crash: %w", err)
	}
	return nil
}
