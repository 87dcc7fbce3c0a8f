package oci

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// identify writes down which process the init is.
func (r *record) identify(pid int) error {
	stat, err := proctree.Read(pid)
	if err != nil {
		return err
	}
	boot, err := proctree.BootID()
	if err != nil {
		return err
	}
	r.PID, r.Start, r.Boot = pid, stat.Start, boot
	return nil
}

// alive says whether the init that a record names lives.
func alive(r *record) bool {
	state, there := stateOfInit(r)
	return there && state != 'Z'
}

// stateOfInit is the kernel's letter for the init that a record names; false when there is no such process.
func stateOfInit(r *record) (state byte, there bool) {
	if r.PID == 0 {
		return 0, false
	}
	stat, err := proctree.Read(r.PID)
	if err != nil || stat.Start != r.Start {
		return 0, false
	}
	boot, err := proctree.BootID()
	return stat.State, err == nil && boot == r.Boot
}

// killInit ends the init that a record names, if it lives. Its process namespace ends with it: when the init is gone,
// so is every process of the container.
func killInit(ctx context.Context, r *record) error {
	// Its number may be a thread's by now, of which there is no descriptor. One that has ended itself may still be ending
	// the others: it is waited for.
	if _, there := stateOfInit(r); !there {
		return nil
	}
	fd, err := unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", r.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// The descriptor holds whichever process has the number now; from here on that cannot change.
	if _, there := stateOfInit(r); !there {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", r.PID, err)
	}
	return awaitEnd(ctx, fd)
}

const endTimeout = 20 * time.Second

func awaitEnd(ctx context.Context, pidfd int) error {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	const slice = 100 // milliseconds: how soon an end of ctx is seen
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
		n, err := unix.Poll(fds, slice)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the container's process 1: %w", err)
		case ctx.Err() != nil:
			return fmt.Errorf("the container's process 1 does not end: %w", ctx.Err())
		}
	}
}
