package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const (
	btrfsDir   = "btrfs"
	btrfsImage = "btrfs.img"
)

// btrfs has a subvolume for each container.
type btrfs struct {
	// root is the directory with the subvolumes.
	root string
	// image is the file with the file system; empty when the store lies on a btrfs.
	image string
	// groups is the directory of sysfs with the quota groups, as they are in memory: those on the disk are as old as the
	// last commit.
	groups string
	counts *counts
	// search is of the one count that runs.
	search search
	// making is held, shared, while a subvolume is made; and alone, while the groups of those that are gone are swept.
	making  sync.RWMutex
	removed atomic.Uint64
	log     hclog.Logger
}

// openBtrfs uses the file system that the store lies on when it is a btrfs whose quotas are enabled. Where they are not,
// only an operator who wants this kind gets them enabled: simple quotas make a file system unknown to older kernels, and
// that may be the one which the whole machine is on. Else there is an image.
func openBtrfs(ctx context.Context, o Options) (Store, error) {
	s := &btrfs{root: filepath.Join(o.Dir, btrfsDir), log: o.Log}
	s.counts = newCounts(s.countInodes)
	own, err := ownBtrfs(o, s.root)
	if err != nil {
		return nil, err
	}
	if own {
		if err := os.MkdirAll(s.root, dirMode); err != nil {
			return nil, err
		}
	} else {
		s.image = filepath.Join(o.Dir, btrfsImage)
		if err := s.mount(ctx, o); err != nil {
			return nil, err
		}
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// ownBtrfs says whether the store lies on a btrfs that can be used as it is.
func ownBtrfs(o Options, root string) (bool, error) {
	if _, err := os.Lstat(filepath.Join(o.Dir, btrfsImage)); err == nil {
		return false, nil
	}
	is, err := isType(o.Dir, unix.BTRFS_SUPER_MAGIC)
	if err != nil || !is {
		return false, err
	}
	if _, err := os.Lstat(root); err == nil || o.Kind == KindBtrfs {
		return true, nil
	}
	dir, err := os.Open(o.Dir)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	groups, err := groupsDir(dir)
	if err != nil {
		return false, err
	}
	_, err = os.Lstat(groups)
	return err == nil, nil
}

// groupsDir is where sysfs shows the quota groups of a directory's file system. It is there when quotas are enabled.
func groupsDir(dir *os.File) (string, error) {
	id, err := fileSystemID(dir)
	return filepath.Join("/sys/fs/btrfs", id, "qgroups"), err
}

// prepare sees to it that quotas are enabled and hold.
func (s *btrfs) prepare() error {
	dir, err := os.Open(s.root)
	if err != nil {
		return err
	}
	defer dir.Close()
	if s.groups, err = groupsDir(dir); err != nil {
		return err
	}
	if _, err := os.Lstat(s.groups); errors.Is(err, os.ErrNotExist) {
		if err := s.enable(dir); err != nil {
			return err
		}
	}
	mode, err := trimmed(filepath.Join(s.groups, "mode"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it is not there before 6.7
		return fmt.Errorf("quotas of %s: %w", s.root, err)
	}
	if mode != "squota" {
		if err := s.prepareFull(dir); err != nil {
			return err
		}
	}
	return s.sweepGroups(dir)
}

// enable enables simple quotas, else full ones, which count at once; in a file system of our own there is nothing yet.
func (s *btrfs) enable(dir *os.File) error {
	err := enableQuota(dir, quotaEnableSimple)
	if err == nil {
		return nil
	}
	s.log.Debug("btrfs has no simple quotas here", "error", err)
	if err := enableQuota(dir, quotaEnable); err != nil || s.image == "" {
		return err
	}
	return waitForRescan(dir)
}

// prepareFull does what only full quotas need. When a large subvolume is removed, the kernel would rather no longer know
// what the others use, and limit nothing, than find it out. In a file system of our own it is told to find it out; and
// a count that is lost is begun anew.
func (s *btrfs) prepareFull(dir *os.File) error {
	if s.image != "" {
		const highestTree = "8"
		err := os.WriteFile(filepath.Join(s.groups, "drop_subtree_threshold"), []byte(highestTree), fileMode)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it is not there before 6.1, which always finds it out
			return err
		}
	}
	inconsistent, err := trimmed(filepath.Join(s.groups, "inconsistent"))
	if err != nil || inconsistent == "0" {
		return nil //nolint:nilerr // not there before 5.9
	}
	s.log.Warn("btrfs does not know what its subvolumes use; limits hold when it has counted", "dir", s.root)
	if err := rescanQuota(dir); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return nil
}

func (s *btrfs) Name() string { return "btrfs" }

func (s *btrfs) Make(_ context.Context, id string) (string, error) {
	path, err := s.path(id)
	if err != nil {
		return "", err
	}
	root, err := os.Open(s.root)
	if err != nil {
		return "", err
	}
	defer root.Close()
	s.making.RLock()
	err = createSubvolume(root, id)
	s.making.RUnlock()
	if err != nil {
		if errors.Is(err, unix.EEXIST) {
			return "", ErrExists
		}
		return "", fmt.Errorf("scratch directory %s: %w", id, err)
	}
	return path, os.Chmod(path, dirMode)
}

func (s *btrfs) Open(_ context.Context, id string) (string, error) {
	dir, err := s.open(id)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return dir.Name(), nil
}

func (s *btrfs) Limit(_ context.Context, id string, bytes, inodes uint64) error {
	dir, err := s.open(id)
	if err != nil {
		return err
	}
	defer dir.Close()
	group, err := subvolumeID(dir)
	if err != nil {
		return fmt.Errorf("disk limit of %s: %w", id, err)
	}
	root, err := os.Open(s.root)
	if err != nil {
		return fmt.Errorf("disk limit of %s: %w", id, err)
	}
	defer root.Close()
	if err := limitSubvolume(root, group, bytes); err != nil {
		return fmt.Errorf("disk limit of %s: %w", id, err)
	}
	if inodes != 0 {
		return ErrInodesUnlimited
	}
	return nil
}

func (s *btrfs) Usage(_ context.Context, id string) (bytes, inodes uint64, err error) {
	dir, err := s.open(id)
	if err != nil {
		return 0, 0, err
	}
	defer dir.Close()
	group, err := subvolumeID(dir)
	if err != nil {
		return 0, 0, err
	}
	// What is written and has no place on the disk yet is reserved.
	for _, name := range []string{"referenced", "rsv_data"} {
		text, err := trimmed(filepath.Join(s.groups, "0_"+strconv.FormatUint(group, 10), name))
		if err != nil {
			return 0, 0, fmt.Errorf("disk usage of %s: %w", id, err)
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("disk usage of %s: %w", id, err)
		}
		bytes += n
	}
	inodes, err = s.counts.get(id)
	return bytes, inodes, err
}

func (s *btrfs) Remove(ctx context.Context, id string) error {
	path, err := s.path(id)
	if err != nil {
		return err
	}
	s.counts.forget(id)
	root, err := os.Open(s.root)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if err := s.destroy(ctx, root, id, path); err != nil {
		return fmt.Errorf("scratch directory %s: %w", id, err)
	}
	if s.removed.Add(1)%sweepEvery != 0 {
		return nil
	}
	if err := s.sweepGroups(root); err != nil {
		s.log.Warn("quota groups of subvolumes that are gone were not removed", "error", err)
	}
	return nil
}

func (s *btrfs) destroy(ctx context.Context, root *os.File, id, path string) error {
	until := time.Now().Add(busyTime)
	for {
		err := destroySubvolume(root, id)
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EBUSY) && time.Now().Before(until):
		case errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTDIR):
			// Subvolumes in it, or none itself: somebody's hand. An empty subvolume can be removed like a directory.
			return os.RemoveAll(path)
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyPause):
		}
	}
}

func (s *btrfs) IDs(context.Context) ([]string, error) { return entries(s.root) }

func (s *btrfs) path(id string) (string, error) {
	return filepath.Join(s.root, id), checkID(id)
}

// open opens a container's directory.
func (s *btrfs) open(id string) (*os.File, error) {
	path, err := s.path(id)
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotFound
	}
	return dir, err
}

func (s *btrfs) countInodes(ctx context.Context, id string, counted func(uint64)) error {
	dir, err := s.open(id)
	if err != nil {
		return err
	}
	defer dir.Close()
	for object := uint64(1); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, next, err := s.search.countInodes(dir, object)
		if err != nil {
			return err
		}
		counted(n)
		if next == 0 {
			return nil
		}
		object = next
	}
}

// entries are the names in a directory, in their order; none when it is not there.
func entries(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list))
	for _, entry := range list {
		if checkID(entry.Name()) == nil {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}
