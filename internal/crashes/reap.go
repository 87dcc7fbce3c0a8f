package crashes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/rmtree"
)

// Reap removes what is older than the lifetime, all but the latest crash of each app, and what a process that died left
// half made. Where the file system is fuller than it may be, the oldest go one by one until it is not. Two calls at once
// follow one another. It costs one look at the directory, a small file for each crash, and a statfs.
func (s *Store) Reap() error {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	kept, err := s.sweep()
	failed := []error{err}
	slices.SortFunc(kept, func(a, b crashDir) int { return b.At.Compare(a.At) })
	seen := map[string]bool{}
	kept = slices.DeleteFunc(kept, func(c crashDir) bool {
		old := s.now().Sub(c.At) >= s.options.Lifetime || c.AppID != "" && seen[c.AppID]
		seen[c.AppID] = true
		if old {
			failed = append(failed, s.remove(c.name))
		}
		return old
	})
	for _, oldest := range slices.Backward(kept) {
		full, err := s.full()
		if err != nil || !full {
			failed = append(failed, err)
			break
		}
		failed = append(failed, s.remove(oldest.name))
	}
	return errors.Join(failed...)
}

// crashDir is one crash on the disk.
type crashDir struct {
	Crash
	name string
}

// sweep removes what is half made and lists the rest. One without a record is of no app and as old as its directory.
func (s *Store) sweep() ([]crashDir, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	failed := []error{err}
	var kept []crashDir
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case s.busy[name]:
		case strings.HasPrefix(name, unfinished), strings.HasPrefix(name, gone):
			failed = append(failed, rmtree.All(filepath.Join(s.dir, name)))
		case entry.IsDir():
			crash, err := readRecord(filepath.Join(s.dir, name))
			if info, other := entry.Info(); err != nil && other == nil {
				crash = Crash{At: info.ModTime()}
			}
			kept = append(kept, crashDir{crash, name})
		}
	}
	return kept, errors.Join(failed...)
}

// remove takes a crash out of sight first, so that nobody finds a part of it.
func (s *Store) remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	hidden := filepath.Join(s.dir, gone+name)
	err := rmtree.All(hidden)
	if err == nil {
		err = os.Rename(filepath.Join(s.dir, name), hidden)
	}
	if err == nil {
		err = rmtree.All(hidden)
	}
	if err != nil {
		return fmt.Errorf("remove a crash: %w", err)
	}
	return nil
}

// full tells whether the file system holds more blocks or inodes than it may. One that counts no inodes has enough.
func (s *Store) full() (bool, error) {
	var now unix.Statfs_t
	if err := unix.Statfs(s.options.BaseDir, &now); err != nil {
		return false, fmt.Errorf("base_dir: %w", err)
	}
	return above(now.Blocks, now.Bfree, s.options.BlockRatio) || above(now.Files, now.Ffree, s.options.InodeRatio), nil
}

func above(all, free uint64, ratio float64) bool {
	return all > 0 && float64(all-min(free, all)) > ratio*float64(all)
}
