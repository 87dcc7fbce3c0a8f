package proctree

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// endPoll is how soon an end of the context is seen while a process does not end.
const endPoll = 100 * time.Millisecond

// End kills a process and waits until it has ended with all of its threads and, if it is process 1 of a pid namespace,
// with all processes of that; somebody may still have to reap it. A pid is given again: a process that ours says is
// another one is left alone, and one that is gone is no error.
func End(ctx context.Context, pid int, ours func(Stat) bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil // gone, or by now a thread of another process
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// Read after the process was opened: it is that one, or that one is gone.
	stat, err := Read(pid)
	if errors.Is(err, ErrGone) || (err == nil && !ours(stat)) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a file descriptor
		n, err := unix.Poll(fds, int(endPoll/time.Millisecond))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", pid, err)
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("process %d was killed and has not ended: %w", pid, ctx.Err())
		}
	}
}
