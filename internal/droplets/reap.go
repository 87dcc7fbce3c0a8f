package droplets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/durable-dea/dea/internal/rmtree"
)

// partLifetime is how long a part of a download waits to be resumed: longer than any download is tried.
const partLifetime = time.Hour

// Keep says which droplets Reap leaves that no instance uses.
type Keep struct {
	// MaxBytes is how much files and layers of all droplets may take, of those in use and of those that are coming as well.
	// While it is more, those that are not in use go, the least recently used first. 0 leaves none of them.
	MaxBytes int64
	// Unused is how long a droplet stays that nobody uses, from when it came or its last use ended; 0 is not at all.
	Unused time.Duration
}

// Reap removes the droplets, with their layers, that no instance uses and that are not to be kept, and whatever a process
// that died has left. It returns the SHA-1 of those that are gone. What it cannot remove it leaves to the next time, and
// says so; it ends early, with ctx's error, when ctx does.
func (s *Store) Reap(ctx context.Context, keep Keep) ([]string, error) {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	reaped, err := s.hideUnused(keep)
	return reaped, errors.Join(err, s.sweep(ctx))
}

// MakeRoom removes droplets, with their layers, that no instance uses, the least recently used first and one at a time,
// for as long as full says that the disk is too full. What it returns is as for Reap, and an error of full's.
func (s *Store) MakeRoom(ctx context.Context, full func() (bool, error)) (reaped []string, err error) {
	if more, err := full(); err != nil || !more {
		return nil, err // Who has room waits for no Reap.
	}
	s.reaping.Lock()
	defer s.reaping.Unlock()
	for {
		if more, err := full(); err != nil || !more {
			return reaped, err
		}
		sha1, err := s.hideOldest()
		if sha1 != "" {
			reaped = append(reaped, sha1)
		}
		// What the disk holds is not less before it is removed.
		if err := errors.Join(err, s.sweep(ctx)); err != nil || sha1 == "" {
			return reaped, err
		}
	}
}

// sweep removes what is hidden, which may take its time.
func (s *Store) sweep(ctx context.Context) error {
	if err := rmtree.Sweep(ctx, s.parts("")); err != nil {
		return fmt.Errorf("remove a droplet: %w", err)
	}
	return nil
}

// cached is a droplet with all that is here of it.
type cached struct {
	sha1 string
	// used is when it was last used or came.
	used  time.Time
	inUse bool
	bytes int64
	// layers are the names of its layers, stale those that are of no use any more.
	layers, stale []string
}

// here tells whether there is more of it than a note.
func (c *cached) here() bool { return c.bytes > 0 || len(c.layers) > 0 }

// unused are the droplets that no instance uses, the least recently used first.
func unused(all map[string]*cached) []*cached {
	free := slices.SortedFunc(maps.Values(all), func(a, b *cached) int { return a.used.Compare(b.used) })
	return slices.DeleteFunc(free, func(c *cached) bool { return c.inUse })
}

// hideUnused moves what is to be removed to where nobody looks for it.
func (s *Store) hideUnused(keep Keep) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.survey()
	if err != nil {
		// What is in use is not known.
		return nil, err
	}
	total, err := s.hideParts()
	for _, c := range all {
		total += c.bytes
	}
	var reaped []string
	for _, c := range unused(all) {
		if time.Since(c.used) < keep.Unused && total <= keep.MaxBytes {
			err = errors.Join(err, s.hide(s.layers, c.stale...))
			continue
		}
		if hideErr := s.hideDroplet(c); hideErr != nil {
			err = errors.Join(err, hideErr)
			continue
		}
		total -= c.bytes
		if c.here() {
			reaped = append(reaped, c.sha1)
		}
	}
	return reaped, err
}

// hideOldest is hideUnused of the one droplet that was not used for longest; none is left when it gives none.
func (s *Store) hideOldest() (sha1 string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.survey()
	if err != nil {
		return "", err
	}
	for _, c := range unused(all) {
		if !c.here() {
			continue
		}
		hideErr := s.hideDroplet(c)
		if hideErr == nil {
			return c.sha1, err
		}
		err = errors.Join(err, hideErr)
	}
	return "", err
}

// survey looks at everything that is here.
func (s *Store) survey() (map[string]*cached, error) {
	all := map[string]*cached{}
	of := func(sha1 string) *cached {
		if all[sha1] == nil {
			all[sha1] = &cached{sha1: sha1}
		}
		return all[sha1]
	}
	files, err := list(s.dir)
	for _, entry := range files {
		if Check(entry.Name()) != nil {
			continue
		}
		c := of(entry.Name())
		c.bytes, _ = s.Has(c.sha1)
		c.used = modified(entry)
	}
	layers, layersErr := list(s.layers(""))
	for _, entry := range layers {
		if Check(ofLayer(entry.Name())) != nil {
			continue // It is none of ours.
		}
		c := of(ofLayer(entry.Name()))
		layer, whole := s.layer(entry.Name())
		c.bytes += layer.Bytes
		c.layers = append(c.layers, entry.Name())
		if !whole {
			c.stale = append(c.stale, entry.Name())
		}
	}
	for name := range s.busy {
		of(ofLayer(name)).inUse = true
	}
	return all, errors.Join(err, layersErr, s.surveyUses(of))
}

// surveyUses finds out what is in use. A droplet may be noted here that has not come.
func (s *Store) surveyUses(of func(sha1 string) *cached) error {
	used, err := list(s.uses(""))
	for _, entry := range used {
		if Check(entry.Name()) != nil {
			continue
		}
		instances, listErr := list(s.uses(entry.Name()))
		err = errors.Join(err, listErr)
		c := of(entry.Name())
		c.used = modified(entry)
		c.inUse = c.inUse || len(instances) > 0
	}
	return err
}

func modified(entry fs.DirEntry) time.Time {
	info, err := entry.Info()
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// hideDroplet takes a droplet out of its place, at last the note of when it was used.
func (s *Store) hideDroplet(c *cached) error {
	err := errors.Join(
		s.hide(func(name string) string { return filepath.Join(s.dir, name) }, c.sha1),
		s.hide(s.layers, c.layers...),
	)
	if err != nil {
		return err
	}
	if err := os.Remove(s.uses(c.sha1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the use of a droplet: %w", err)
	}
	return nil
}

func (s *Store) hide(place func(name string) string, names ...string) error {
	var failed error
	for _, name := range names {
		if err := rmtree.Hide(place(name), s.parts("")); err != nil {
			failed = errors.Join(failed, fmt.Errorf("take a droplet out of its place: %w", err))
		}
	}
	return failed
}

// hideParts hides what nobody is at: downloads only once they are old, and layers at once, since they are unpacked from
// the beginning. It gives how many bytes the downloads take that stay.
func (s *Store) hideParts() (bytes int64, err error) {
	entries, err := list(s.parts(""))
	for _, entry := range entries {
		name := entry.Name()
		layer, isLayer := strings.CutSuffix(name, newEnding)
		switch {
		case rmtree.Hidden(name), isLayer && s.busy[layer]:
		case !isLayer && time.Since(modified(entry)) < partLifetime:
			bytes += size(entry)
		default:
			err = errors.Join(err, s.hide(s.parts, name))
		}
	}
	return bytes, err
}

func size(entry fs.DirEntry) int64 {
	info, err := entry.Info()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}
