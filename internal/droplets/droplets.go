package droplets

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/share"
)

// FileName is the name of a droplet in its directory.
const FileName = runspec.FileDroplet

// ErrBadDigest is returned for a SHA-1 that is not 40 hexadecimal digits. Upper and lower case are the same.
var ErrBadDigest = errors.New("not a SHA-1 of 40 hexadecimal digits")

var digest = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)

// ErrGone is returned for a droplet that is not here.
var ErrGone = errors.New("the droplet is not in the node's cache")

// Store is the droplet cache of a node. It is safe for concurrent use by one process.
type Store struct {
	dir string
	// boot names the time since the machine was started.
	boot string
	// unpackings are those under way, by the layer's name; slots has room for as many as may be at work at once.
	unpackings share.Group[string, Layer]
	slots      chan struct{}
	// reaping is held by one Reap at a time.
	reaping sync.Mutex
	// mu is held when it is noted who uses a droplet, and when a droplet or a layer comes or goes.
	mu sync.Mutex
	// busy are the names of the layers that are being unpacked.
	busy map[string]bool
}

// New is the cache beneath a node's base directory. Nothing is made on disk until the first droplet comes.
func New(baseDir string) *Store {
	return &Store{
		dir: filepath.Join(baseDir, "droplets"), boot: bootID(),
		slots: make(chan struct{}, runtime.GOMAXPROCS(0)), busy: map[string]bool{},
	}
}

// Check fails with ErrBadDigest for what cannot name a droplet. Every method that writes checks by itself.
func Check(sha1 string) error {
	if !digest.MatchString(sha1) {
		return ErrBadDigest
	}
	return nil
}

// canonical is the one form of a SHA-1 that names files.
func canonical(sha1 string) (string, error) { return strings.ToLower(sha1), Check(sha1) }

// Dir is the directory that holds a droplet, to be mounted into instances that unpack it by themselves. It is there when
// Has says so.
func (s *Store) Dir(sha1 string) (string, error) {
	sha1, err := canonical(sha1)
	if err != nil {
		return "", err
	}
	return filepath.Join(s.dir, sha1), nil
}

// Path is where a droplet is when Has says so.
func (s *Store) Path(sha1 string) (string, error) {
	dir, err := s.Dir(sha1)
	return filepath.Join(dir, FileName), err
}

// Has tells whether a droplet is here, and its size in bytes.
func (s *Store) Has(sha1 string) (int64, bool) {
	path, err := s.Path(sha1)
	if err != nil {
		return 0, false
	}
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	return info.Size(), true
}

// Part is where the download of a droplet may grow until it is whole. Its directory exists afterwards.
func (s *Store) Part(sha1 string) (string, error) {
	sha1, err := canonical(sha1)
	if err != nil {
		return "", err
	}
	return s.parts(sha1), s.makeParts()
}

func (s *Store) parts(name string) string { return filepath.Join(s.dir, ".parts", name) }

func (s *Store) makeParts() error {
	if err := os.MkdirAll(s.parts(""), 0o755); err != nil {
		return fmt.Errorf("make the droplets' directory: %w", err)
	}
	return nil
}

// Move puts a file whose SHA-1 was checked into the cache, by rename. The file must be on the cache's file system. A
// droplet that is already here is replaced by the same content.
func (s *Store) Move(sha1, from string) error {
	to, err := s.Path(sha1)
	if err != nil {
		return err
	}
	file, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("open the droplet: %w", err)
	}
	err = settle(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return s.place(to, func() error { return os.Rename(from, to) })
}

// Put adds an open file whose content was read and found to have this SHA-1. The file is not copied but linked, and
// keeps its name; where that is impossible (another file system) it is copied. What is already here stays. The content
// must not change any more: nobody else may have the file open for writing.
func (s *Store) Put(sha1 string, file *os.File) error {
	to, err := s.Path(sha1)
	if err != nil {
		return err
	}
	if err := settle(file); err != nil {
		return err
	}
	// The link is made from the descriptor: the name may lead elsewhere by now.
	from := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	err = s.place(to, func() error {
		if _, here := s.Has(sha1); here {
			return nil
		}
		err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	})
	if err == nil {
		return nil
	}
	return s.copy(file, to)
}

// place has a droplet appear, and its time begin.
func (s *Store) place(to string, appear func() error) error {
	dir := filepath.Dir(to)
	if err := s.placeLocked(dir, appear); err != nil {
		return err
	}
	return syncDir(dir)
}

// placeLocked keeps the directory that it makes from being taken away before there is anything in it.
func (s *Store) placeLocked(dir string, appear func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the droplet's directory: %w", err)
	}
	if err := appear(); err != nil {
		return fmt.Errorf("bring the droplet into the cache: %w", err)
	}
	return s.touch(filepath.Base(dir))
}

func (s *Store) copy(file *os.File, to string) (err error) {
	if err := s.makeParts(); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(s.parts(""), filepath.Base(filepath.Dir(to))+".copy-")
	if err != nil {
		return fmt.Errorf("copy the droplet into the cache: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(temporary.Name())
		}
	}()
	_, err = io.Copy(temporary, io.NewSectionReader(file, 0, 1<<62))
	if err == nil {
		err = settle(temporary)
	}
	if err = errors.Join(err, temporary.Close()); err != nil {
		return fmt.Errorf("copy the droplet into the cache: %w", err)
	}
	return s.place(to, func() error { return os.Rename(temporary.Name(), to) })
}

// settle makes a droplet readable for the user of a container and writes it to the disk: its name says what is in it,
// and must not outlive its content when the machine loses power.
func settle(file *os.File) error {
	if err := file.Chmod(0o444); err != nil {
		info, statErr := file.Stat()
		if statErr != nil || info.Mode().Perm()&0o444 != 0o444 {
			return fmt.Errorf("make the droplet readable: %w", err)
		}
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("write the droplet: %w", err)
	}
	return nil
}

// syncDir writes the names in a directory to the disk. One that is gone again has none.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("write the droplet's name: %w", err)
	}
	return nil
}
