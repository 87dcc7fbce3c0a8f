package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Why a path is not read.
var (
	errOutside   = errors.New("the path is outside of the directory")
	errNoFile    = errors.New("the path is neither a file nor a directory")
	errForbidden = errors.New("the path may not be read")
	errMissing   = errors.New("there is no such path")
)

// localName makes a name in the directory of a path from a URL. A leading slash means the directory itself, as
// users know it.
func localName(path string) (string, error) {
	name := strings.TrimLeft(path, "/")
	if strings.ContainsRune(name, 0) {
		return "", errMissing
	}
	if name == "" {
		return ".", nil
	}
	if !filepath.IsLocal(name) {
		return "", errOutside
	}
	return name, nil
}

// open opens a file or a directory for reading and nothing else, without waiting for anything.
func open(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	// Looked at before it is opened, since opening a device may already do something.
	before, err := root.Stat(name)
	if err != nil {
		return nil, nil, reason(err)
	}
	if !readable(before) {
		return nil, nil, errNoFile
	}
	// What is there now may be something else: a fifo, which O_NONBLOCK opens without a writer, or a terminal.
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, reason(err)
	}
	info, err := inspect(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// inspect looks at what was opened, which nobody can swap any more.
func inspect(f *os.File) (fs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !readable(info) {
		return nil, errNoFile
	}
	var where unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &where); err != nil {
		return nil, fmt.Errorf("look at the file system: %w", err)
	}
	if isKernels(where.Type) {
		return nil, errNoFile
	}
	return info, nil
}

// isKernels tells the file systems in which the kernel shows itself, and whose files are plain ones by their mode.
func isKernels(fileSystem int64) bool {
	switch fileSystem {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.BINFMTFS_MAGIC,
		unix.EFIVARFS_MAGIC, unix.NSFS_MAGIC, unix.PSTOREFS_MAGIC, unix.RDTGROUP_SUPER_MAGIC, unix.SELINUX_MAGIC,
		unix.SMACK_MAGIC, unix.DEVPTS_SUPER_MAGIC:
		return true
	default:
		return false
	}
}

func readable(info fs.FileInfo) bool { return info.Mode().IsRegular() || info.IsDir() }

// reason tells a path that leads outside from one that is not there and one that may not be read.
func reason(err error) error {
	var errno syscall.Errno
	switch {
	case !errors.As(err, &errno):
		// os.Root has no exported error for a path that leaves it; all that come from the kernel have a number.
		return fmt.Errorf("%w: %w", errOutside, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG),
		errors.Is(err, unix.EINVAL):
		return missing(err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ELOOP):
		return fmt.Errorf("%w: %w", errForbidden, err)
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: %w", errNoFile, err)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%w: %w", errBusy, err)
	default:
		return err
	}
}

// missing is errMissing for what is not there, and the error itself for anything else.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENAMETOOLONG) ||
		errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: %w", errMissing, err)
	}
	return err
}
