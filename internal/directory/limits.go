package directory

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/gate"
)

// errBusy refuses one more request where there are many under way.
var errBusy = errors.New("the node has as many readers of files as it can serve; try again soon")

const (
	// defaultTails and defaultReads are how many tails, and other answers, are under way at most.
	defaultTails = 1024
	defaultReads = 256
	// tailFiles is at most how many files a follower holds open. Of one file: its connection, directory and file; and, for a
	// moment, the directory as it is now, on the way to it, and the file's successor. Of an instance's logs: its connection
	// and directory, and of both streams a log with its times, two of them until the one that was moved aside is read; and,
	// for a moment, the directory as it is now, on the way to it.
	tailFiles = 12
)

// MaxConnections is how many connections are of use to a server: more of them are let wait. It leaves three quarters of the
// files that the process may open.
func MaxConnections() int { return fitting(2*(defaultTails+defaultReads), 4) }

// tailsFor is how many tails fit in half of the files that this process may open: the others are for the node's work.
func tailsFor(wanted int) int { return fitting(wanted, 2*tailFiles) }

// fitting is so many as are wanted, or as fit where each takes a share of the files that this process may open; 1 at least.
func fitting(wanted, share int) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return wanted
	}
	return int(min(uint64(wanted), max(limit.Cur/uint64(share), 1))) //nolint:gosec // at most wanted
}

// newGate lets one directory's answers be half of them at most, so that who may read one instance keeps nobody from another.
func newGate(most int) *gate.Gate { return gate.New(most, max(most/2, 1)) }
