package scratch

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

const quotaDir = "quota"

// quota has a directory with a project of its own for each container. Which project that is stands in the directory's
// inode.
type quota struct {
	root     string
	instance string
	// choosing is held from the choice of a project to its first use.
	choosing sync.Mutex
}

// openQuota tries whether limits hold, by what the file system says: a quota is set and read back.
func openQuota(ctx context.Context, o Options) (Store, error) {
	s := &quota{root: filepath.Join(o.Dir, quotaDir), instance: o.Instance}
	trial := &quota{root: s.root + ".probe", instance: o.Instance}
	const id = "probe"
	if err := os.MkdirAll(trial.root, dirMode); err != nil {
		return nil, err
	}
	if err := errors.Join(trial.probe(ctx, id), trial.Remove(ctx, id), trial.Close()); err != nil {
		return nil, err
	}
	return s, os.MkdirAll(s.root, dirMode)
}

func (s *quota) probe(ctx context.Context, id string) error {
	if err := s.Remove(ctx, id); err != nil {
		return err
	}
	if _, err := s.Make(ctx, id); err != nil {
		return err
	}
	const bytes, inodes = 1 << 20, 8
	if err := s.Limit(ctx, id, bytes, inodes); err != nil {
		return err
	}
	dir, project, err := s.open(id)
	if err != nil {
		return err
	}
	defer dir.Close()
	var got diskQuota
	if err := quotactl(dir, getQuota, project, &got); err != nil {
		return err
	}
	if got.blockHard*quotaBlockSize != bytes || got.inodeHard != inodes || got.inodes != 1 {
		return errors.New("project quota does not say what it was told")
	}
	return nil
}

func (s *quota) Name() string { return "project quota" }

func (s *quota) Make(_ context.Context, id string) (string, error) {
	if err := checkID(id); err != nil {
		return "", err
	}
	path := filepath.Join(s.root, id)
	if err := os.Mkdir(path, dirMode); err != nil {
		if errors.Is(err, os.ErrExist) {
			return "", ErrExists
		}
		return "", err
	}
	dir, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	s.choosing.Lock()
	defer s.choosing.Unlock()
	project, err := s.freeProject(dir, id)
	if err != nil {
		return "", err
	}
	return path, setProject(dir, project)
}

// freeProject finds a project without files and limits. The first that is tried follows from instance and id, so that
// two servers on one file system do not try the same at once.
func (s *quota) freeProject(dir *os.File, id string) (uint32, error) {
	const tries = 1000
	for try := range tries {
		hash := fnv.New32a()
		fmt.Fprintf(hash, "%s/%s/%d", s.instance, id, try)
		// Small numbers are those that operators give.
		const lowest = 1 << 24
		project := max(hash.Sum32()&math.MaxInt32, lowest)
		var used diskQuota
		err := quotactl(dir, getQuota, project, &used)
		if errors.Is(err, unix.ENOENT) {
			return project, nil // xfs does not know it
		}
		if err != nil {
			return 0, err
		}
		if used.inodes == 0 && used.bytes == 0 && used.blockHard == 0 && used.inodeHard == 0 {
			return project, nil
		}
	}
	return 0, errors.New("no project id is free")
}

func (s *quota) Open(_ context.Context, id string) (string, error) {
	dir, _, err := s.open(id)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return dir.Name(), nil
}

func (s *quota) Limit(_ context.Context, id string, bytes, inodes uint64) error {
	dir, project, err := s.open(id)
	if err != nil {
		return err
	}
	defer dir.Close()
	return quotactl(dir, setQuota, project, hardLimits(bytes, inodes))
}

func hardLimits(bytes, inodes uint64) *diskQuota {
	blocks := bytes / quotaBlockSize
	if bytes != 0 {
		blocks = max(blocks, 1) // 0 would be no limit
	}
	return &diskQuota{blockHard: blocks, blockSoft: blocks, inodeHard: inodes, inodeSoft: inodes, valid: blockLimits | inodeLimits}
}

func (s *quota) Usage(_ context.Context, id string) (bytes, inodes uint64, err error) {
	dir, project, err := s.open(id)
	if err != nil {
		return 0, 0, err
	}
	defer dir.Close()
	var used diskQuota
	err = quotactl(dir, getQuota, project, &used)
	return used.bytes, used.inodes, err
}

// Remove takes the limits away before the files: a project without both is free for another container.
func (s *quota) Remove(_ context.Context, id string) error {
	dir, project, err := s.open(id)
	if errors.Is(err, ErrID) {
		return err
	}
	if err == nil {
		defer dir.Close()
		if err := quotactl(dir, setQuota, project, hardLimits(0, 0)); err != nil {
			return err
		}
	}
	return os.RemoveAll(filepath.Join(s.root, id))
}

func (s *quota) IDs(context.Context) ([]string, error) { return entries(s.root) }

func (s *quota) Close() error {
	err := os.Remove(s.root)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// open opens a container's directory and finds its project.
func (s *quota) open(id string) (*os.File, uint32, error) {
	if err := checkID(id); err != nil {
		return nil, 0, err
	}
	dir, err := os.Open(filepath.Join(s.root, id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, ErrNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	project, err := projectOf(dir)
	if err == nil && project == 0 {
		err = ErrNotFound // Make was interrupted
	}
	if err != nil {
		dir.Close()
		return nil, 0, err
	}
	return dir, project, nil
}
