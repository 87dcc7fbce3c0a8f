package scratch

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sweepEvery is after how many removals quota groups are swept. One that is left costs the kernel a few hundred bytes.
const sweepEvery = 256

// sweepGroups removes the quota groups of subvolumes that are no more, which the kernel does itself only since 6.10. Only
// in a file system of our own is it known which those are.
func (s *btrfs) sweepGroups(dir *os.File) error {
	if s.image == "" {
		return nil
	}
	s.making.Lock() // else the group of a subvolume that is being made could be taken for one that is left
	defer s.making.Unlock()
	groups, err := os.ReadDir(s.groups)
	if err != nil {
		return err
	}
	alive, err := s.subvolumes()
	if err != nil {
		return err
	}
	for _, group := range groups {
		id, err := strconv.ParseUint(strings.TrimPrefix(group.Name(), "0_"), 10, 64)
		if err != nil || id < firstSubvolume || alive[id] {
			continue
		}
		err = removeGroup(dir, id)
		// It is being removed, by the kernel or from the disk.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return nil
}

// subvolumes are the ids of all containers' subvolumes.
func (s *btrfs) subvolumes() (map[uint64]bool, error) {
	names, err := entries(s.root)
	if err != nil {
		return nil, err
	}
	alive := make(map[uint64]bool, len(names))
	for _, name := range names {
		dir, err := os.Open(filepath.Join(s.root, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		id, err := subvolumeID(dir)
		dir.Close()
		if err != nil {
			return nil, err
		}
		alive[id] = true
	}
	return alive, nil
}
