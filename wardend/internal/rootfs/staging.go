package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const (
	// markerFile, in the rootfs' own root, says that the directory was made here and may be replaced.
	markerFile = ".wardend-rootfs"
	// stagingSuffix with a dot before it is the name of a rootfs that is being made, and of one that was replaced.
	stagingSuffix = ".wardend-new"

	publicDir  fs.FileMode = 0o755
	publicFile fs.FileMode = 0o644
)

// marker is the content of markerFile. Containers can read it.
type marker struct {
	Kind string    `json:"kind"`
	Made time.Time `json:"made"`
}

// RefusedError: a rootfs cannot be made in that directory.
type RefusedError struct {
	Dir string
	// Reason is a half sentence for the user, whose subject is the directory.
	Reason string
}

func (e *RefusedError) Error() string { return e.Dir + " " + e.Reason }

// staging is a rootfs that is being made. Nobody but root can enter it.
type staging struct {
	// dir is where it is made, target where it goes. Both are absolute, without links.
	dir, target string
	// parent is the directory of both, locked.
	parent  *os.File
	replace bool
}

// newStaging makes the directory beside target that a rootfs is made in, and clears what a killed run left there.
// Its errors are *RefusedError or *fs.PathError.
func newStaging(target, kind string) (*staging, error) {
	s, err := findStaging(target)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(kind); err != nil {
		_ = s.parent.Close()
		return nil, err
	}
	return s, nil
}

func findStaging(target string) (*staging, error) {
	absolute, err := filepath.Abs(target)
	if err != nil {
		return nil, err
	}
	if absolute == "/" {
		return nil, &RefusedError{absolute, "is the root of this machine"}
	}
	above, err := filepath.EvalSymlinks(filepath.Dir(absolute))
	if err != nil {
		return nil, err
	}
	base := filepath.Base(absolute)
	s := &staging{dir: filepath.Join(above, "."+base+stagingSuffix), target: filepath.Join(above, base)}
	if s.replace, err = replaceable(s.target); err != nil {
		return nil, err
	}
	s.parent, err = os.Open(above)
	return s, err
}

func (s *staging) prepare(kind string) error {
	// Held until this process ends, however that happens.
	err := unix.Flock(int(s.parent.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return &RefusedError{s.target, "has to wait: another rootfs is being made in " + s.parent.Name()}
	}
	if err != nil {
		return &fs.PathError{Op: "lock", Path: s.parent.Name(), Err: err}
	}
	if _, err := replaceable(s.dir); err != nil {
		return err
	}
	if err := removeTree(s.dir); err != nil {
		return err
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return err
	}
	raw, err := json.Marshal(marker{Kind: kind, Made: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(s.dir, markerFile), string(raw)+"\n")
}

// replaceable says whether there is a rootfs of ours at a path, which may be replaced. It refuses everything else but
// nothing and an empty directory.
func replaceable(dir string) (bool, error) {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.IsDir() {
		return false, &RefusedError{dir, "is there and is no directory"}
	}
	if err := noMounts(dir); err != nil {
		return false, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return false, err
	}
	info, err = os.Lstat(filepath.Join(dir, markerFile))
	if err != nil || !info.Mode().IsRegular() {
		return false, &RefusedError{dir, "is not empty and was not made by this command; give another directory, or empty it"}
	}
	return true, nil
}

// noMounts refuses a directory that something is mounted at or beneath: removing it would remove what is mounted.
func noMounts(dir string) error {
	mounts, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) {
		return !within(info.Mountpoint, dir), false
	})
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return &RefusedError{dir, fmt.Sprintf("has something mounted at %s; unmount it, or give another directory", mounts[0].Mountpoint)}
	}
	return nil
}

// within says whether a clean absolute path is dir or beneath it.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// removeTree removes a directory with all that it holds, unless something is mounted there. Files that have other
// names too, as a hard-linked rootfs' have, stay under those. Nil when there is no such directory.
func removeTree(dir string) error {
	if err := noMounts(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// commit moves the rootfs to its target, after everything is on the disk, and removes what was there before.
func (s *staging) commit() error {
	if err := os.Chmod(s.dir, publicDir); err != nil {
		return err
	}
	if err := unix.Syncfs(int(s.parent.Fd())); err != nil {
		return &fs.PathError{Op: "sync", Path: s.dir, Err: err}
	}
	flags := uint(0)
	if s.replace {
		flags = unix.RENAME_EXCHANGE
	}
	// An empty directory makes way by itself.
	if err := unix.Renameat2(unix.AT_FDCWD, s.dir, unix.AT_FDCWD, s.target, flags); err != nil {
		return fmt.Errorf("moving the rootfs to %s, which can also be removed first: %w", s.target, err)
	}
	if s.replace {
		return removeTree(s.dir)
	}
	return nil
}

// close removes what was not committed, and lets go.
func (s *staging) close() error {
	defer func() { _ = s.parent.Close() }()
	return removeTree(s.dir)
}

// writeFile makes a file that everybody may read, whatever the umask is.
func writeFile(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, publicFile)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Chmod(publicFile), f.Close())
}
