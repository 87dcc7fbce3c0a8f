package droplets

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/runspec"
)

// FileName is the name of a droplet in its directory.
const FileName = runspec.FileDroplet

// ErrBadDigest is returned for a SHA-1 that is not 40 hexadecimal digits. Upper and lower case are the same.
var ErrBadDigest = errors.New("not a SHA-1 of 40 hexadecimal digits")

var digest = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)

// Store is the droplet cache of a node. It is safe for concurrent use, also by several processes.
type Store struct{ dir string }

// New is the cache beneath a node's base directory. Nothing is made on disk until the first droplet comes.
func New(baseDir string) *Store { return &Store{dir: filepath.Join(baseDir, "droplets")} }

// Check fails with ErrBadDigest for what cannot name a droplet. Every method that writes checks by itself.
func Check(sha1 string) error {
	if !digest.MatchString(sha1) {
		return ErrBadDigest
	}
	return nil
}

// Dir is the directory that holds a droplet, to be mounted into its instances. It is there when Has says so.
func (s *Store) Dir(sha1 string) (string, error) {
	if err := Check(sha1); err != nil {
		return "", err
	}
	return filepath.Join(s.dir, strings.ToLower(sha1)), nil
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
	if err := Check(sha1); err != nil {
		return "", err
	}
	dir := filepath.Join(s.dir, ".parts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the droplets' directory: %w", err)
	}
	return filepath.Join(dir, strings.ToLower(sha1)), nil
}

// Move puts a file whose SHA-1 was checked into the cache, by rename. The file must be on the cache's file system. A
// droplet that is already here is replaced by the same content.
func (s *Store) Move(sha1, from string) error {
	to, err := s.prepare(sha1)
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
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("move the droplet into the cache: %w", err)
	}
	return syncDir(filepath.Dir(to))
}

// Put adds an open file whose content was read and found to have this SHA-1. The file is not copied but linked, and
// keeps its name; where that is impossible (another file system) it is copied. What is already here stays. The content
// must not change any more: nobody else may have the file open for writing.
func (s *Store) Put(sha1 string, file *os.File) error {
	if _, ok := s.Has(sha1); ok {
		return nil
	}
	to, err := s.prepare(sha1)
	if err != nil {
		return err
	}
	if err := settle(file); err != nil {
		return err
	}
	// The link is made from the descriptor: the name may lead elsewhere by now.
	from := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	err = unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
	switch {
	case err == nil:
		return syncDir(filepath.Dir(to))
	case errors.Is(err, fs.ErrExist):
		return nil
	}
	return s.copy(sha1, file, to)
}

func (s *Store) copy(sha1 string, file *os.File, to string) (err error) {
	dir := filepath.Join(s.dir, ".parts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the droplets' directory: %w", err)
	}
	temporary, err := os.CreateTemp(dir, sha1+".copy-")
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
	if err := os.Rename(temporary.Name(), to); err != nil {
		return fmt.Errorf("move the droplet into the cache: %w", err)
	}
	return syncDir(filepath.Dir(to))
}

// Remove takes a droplet away. It is no error when it is not here.
func (s *Store) Remove(sha1 string) error {
	dir, err := s.Dir(sha1)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the droplet: %w", err)
	}
	return nil
}

func (s *Store) prepare(sha1 string) (string, error) {
	to, err := s.Path(sha1)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return "", fmt.Errorf("make the droplet's directory: %w", err)
	}
	return to, nil
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

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("write the droplet's name: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("write the droplet's name: %w", err)
	}
	return nil
}
