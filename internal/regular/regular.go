// Package regular opens regular files where somebody who is not trusted may have put something else, and tells directories apart.
package regular

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNotRegular: what has the name is no regular file.
var ErrNotRegular = errors.New("no regular file")

// Open opens a regular file beneath root for reading, and tells of it what is so now. No link leads out of root, and nothing
// keeps it waiting. It fails with ErrNotRegular, and with the errors of root.
func Open(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	// Looked at before it is opened, since opening a device may already do something.
	info, err := root.Stat(name)
	if err == nil {
		err = check(info)
	}
	if err != nil {
		return nil, nil, err
	}
	// What is there now may be something else: a fifo, which O_NONBLOCK opens without a writer, or a terminal.
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	if info, err = file.Stat(); err == nil {
		err = check(info)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}

func check(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", info.Name(), ErrNotRegular)
	}
	return nil
}

// SameDirectory tells whether two directories are one. It is false where that cannot be seen.
func SameDirectory(a, b *os.Root) bool {
	first, err := a.Stat(".")
	if err != nil {
		return false
	}
	second, err := b.Stat(".")
	return err == nil && os.SameFile(first, second)
}
