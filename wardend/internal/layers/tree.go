package layers

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

const (
	parentMode = 0o755
	fileMode   = 0o644
	// maxTries bounds how often a path is looked up while mounts or names
	// change elsewhere on the machine, which makes the kernel ask for another try.
	maxTries = 10000
)

// tree is a container's, opened to mount things in it.
type tree struct {
	root  int
	id    identity
	owner uint32 // the container's root
}

// identity tells directories apart, also those that two mounts show.
type identity struct {
	mount, inode uint64
}

func openTree(root string, ids idmap.Range) (*tree, error) {
	owner, ok := ids.ToHost(0)
	if !ok {
		return nil, ids.Validate()
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	t := &tree{root: fd, owner: owner}
	mounted, err := isMountRoot(fd, "")
	if err == nil && !mounted {
		err = fmt.Errorf("%s is not mounted", root)
	}
	if err == nil {
		t.id, err = identify(fd)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *tree) close() { _ = unix.Close(t.root) }

func identify(fd int) (identity, error) {
	var stat unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID, &stat)
	return identity{mount: stat.Mnt_id, inode: stat.Ino}, err
}

// mountPoint opens the directory (or file) to mount at, and makes what is missing of it.
func (t *tree) mountPoint(target string, isDir bool) (int, error) {
	name := strings.TrimPrefix(path.Clean("/"+target), "/")
	if name == "" {
		return -1, ErrRoot
	}
	fd, err := t.lookup(name)
	if errors.Is(err, unix.ENOENT) {
		return t.make(strings.Split(name, "/"), isDir)
	}
	if err != nil {
		return -1, err
	}
	if err := t.suits(fd, isDir); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// lookup opens name as a process would whose root is the tree.
func (t *tree) lookup(name string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(t.root, name, &how)
		if (errors.Is(err, unix.EAGAIN) && tries < maxTries) || errors.Is(err, unix.EINTR) {
			runtime.Gosched()
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: "/" + name, Err: err}
		}
		return fd, nil
	}
}

// suits refuses what a link led to the root of the tree, and a directory for a file or a file for a directory.
func (t *tree) suits(fd int, isDir bool) error {
	id, err := identify(fd)
	if err != nil {
		return err
	}
	if id == t.id {
		return ErrRoot
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	targetIsDir := stat.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case isDir && !targetIsDir:
		return fmt.Errorf("a directory cannot be mounted on a file: %w", unix.ENOTDIR)
	case !isDir && targetIsDir:
		return fmt.Errorf("a file cannot be mounted on a directory: %w", unix.EISDIR)
	}
	return nil
}

// make follows the names as far as they exist, makes the rest, and opens the last.
func (t *tree) make(names []string, isDir bool) (int, error) {
	parent, err := t.lookup(".")
	if err != nil {
		return -1, err
	}
	for i, name := range names {
		next, err := t.lookup(strings.Join(names[:i+1], "/"))
		if errors.Is(err, unix.ENOENT) {
			next, err = t.create(parent, name, isDir || i < len(names)-1)
		}
		_ = unix.Close(parent)
		if err != nil {
			return -1, err
		}
		parent = next
	}
	return parent, nil
}

// create makes one directory or file that is missing in the open directory.
func (t *tree) create(parent int, name string, isDir bool) (int, error) {
	id, err := identify(parent)
	if err != nil {
		return -1, err
	}
	if id.mount != t.id.mount {
		return -1, fmt.Errorf("%q is missing in what is mounted there already, where nothing is made: %w", name, unix.ENOENT)
	}
	flags, mode := unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, uint32(fileMode)
	if isDir {
		flags, mode = unix.O_RDONLY|unix.O_DIRECTORY, parentMode
		err = unix.Mkdirat(parent, name, mode)
	}
	var fd int
	if err == nil {
		fd, err = unix.Openat(parent, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	}
	if errors.Is(err, unix.EEXIST) {
		return -1, fmt.Errorf("%q is a link to what does not exist: %w", name, unix.ENOENT)
	}
	if err != nil {
		return -1, &os.PathError{Op: "create", Path: name, Err: err}
	}
	if err := own(fd, t.owner, mode); err != nil {
		_ = unix.Close(fd)
		return -1, &os.PathError{Op: "chown", Path: name, Err: err}
	}
	return fd, nil
}
