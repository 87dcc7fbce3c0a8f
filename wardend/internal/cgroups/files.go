package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const dirMode = 0o755

// write writes a value to a control file. The file is neither made nor cut: it is the kernel's.
func write(path, value string) error {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if _, err := retry(func() (int, error) { return unix.Write(fd, []byte(value)) }); err != nil {
		return fmt.Errorf("write %q to %s: %w", value, path, err)
	}
	return nil
}

// retry repeats a system call that a signal interrupted, as the runtime's own signals do to slow control files.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// readSize is more than the largest control file that is read has, memory.stat.
const readSize = 8 << 10

// read reads a control file whole.
func read(path string) (string, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, readSize)
	for {
		buf = slices.Grow(buf, 1)
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return "", &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n <= 0 {
			return string(buf), nil
		}
		buf = buf[:len(buf)+n]
	}
}

// readNumber reads a control file that holds one number, or "max", which is unlimited.
func readNumber(path string, unlimited uint64) (uint64, error) {
	raw, err := read(path)
	if err != nil {
		return 0, err
	}
	word := strings.TrimSpace(raw)
	if word == "max" {
		return unlimited, nil
	}
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// eachNumber calls take for each line of the form "key number".
func eachNumber(path string, take func(key string, n uint64)) error {
	raw, err := read(path)
	if err != nil {
		return err
	}
	for line := range strings.Lines(raw) {
		key, word, found := strings.Cut(strings.TrimSpace(line), " ")
		if !found {
			continue
		}
		// Whatever else a kernel adds to a file is not one of ours.
		if n, err := strconv.ParseUint(word, 10, 64); err == nil {
			take(key, n)
		}
	}
	return nil
}

// findNumber gives the number of one key, and whether the file has it.
func findNumber(path, key string) (value uint64, found bool, err error) {
	err = eachNumber(path, func(k string, n uint64) {
		if k == key {
			value, found = n, true
		}
	})
	return value, found, err
}

// makeDir makes a cgroup, or finds that it is there.
func makeDir(path string) error {
	if err := unix.Mkdir(path, dirMode); err != nil && !errors.Is(err, unix.EEXIST) {
		return &fs.PathError{Op: "make cgroup", Path: path, Err: err}
	}
	return nil
}

// children are the cgroups directly beneath one; none when it is not there.
func children(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	return dirs, nil
}

// gone says whether an error means that a cgroup or its file is not there: the kernel answers ENODEV for a file that was
// opened, or looked up, just before its cgroup was removed.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) }
