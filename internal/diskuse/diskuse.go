// Package diskuse tells whether a file system is fuller than it may be.
package diskuse

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Threshold is how full the file system of a directory may be. The zero value is never exceeded.
type Threshold struct {
	Dir string
	// Blocks and Inodes are the parts of each that may be in use, above 0 and at most 1; 0 is any.
	Blocks, Inodes float64
}

// Exceeded tells whether more is in use than may be. A file system that counts no inodes has enough. Its errors are
// those of the file system.
func (t Threshold) Exceeded() (bool, error) {
	if t.Blocks <= 0 && t.Inodes <= 0 {
		return false, nil
	}
	var now unix.Statfs_t
	if err := unix.Statfs(t.Dir, &now); err != nil {
		return false, fmt.Errorf("look how full the disk of %s is: %w", t.Dir, err)
	}
	return above(now.Blocks, now.Bfree, t.Blocks) || above(now.Files, now.Ffree, t.Inodes), nil
}

func above(all, free uint64, ratio float64) bool {
	return ratio > 0 && all > 0 && float64(all-min(free, all)) > ratio*float64(all)
}
