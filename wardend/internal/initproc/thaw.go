package initproc

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// Thaw frees a container's init that a job keeps from working. Pid is the init's on the machine, as who started the
// container knows it; what the init says of itself must not be used.
//
// A new process is of the job's user for some microseconds before it runs its program, with all of the init waiting
// for that: the two share their memory. Another job of that user, or one of the container's root, that stops whatever
// it can (kill -STOP -1) may hit this moment, and the init could wait for ever, so that it would not even stop the
// container. Thaw kills such a process, which is a job's that has not begun. It can be called at any time: a process
// that runs its program already is left alone, unless that is the init's own and it is stopped.
func Thaw(pid int) error {
	program, err := os.Stat(exeOf(pid))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("thaw init %d: %w", pid, err)
	}
	pids, err := proctree.Descendants(pid)
	if err != nil {
		return fmt.Errorf("thaw init %d: %w", pid, err)
	}
	var errs []error
	for _, child := range pids {
		if isFrozen(child, pid, program) {
			errs = append(errs, killFrozen(child, pid, program))
		}
	}
	return errors.Join(errs...)
}

func exeOf(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/exe" }

// isFrozen says whether a process is an init's child that is stopped, by a signal or by tracing, and has not run its
// program yet.
func isFrozen(pid, parent int, program os.FileInfo) bool {
	stat, err := proctree.Read(pid)
	if err != nil || stat.Parent != parent || (stat.State != 'T' && stat.State != 't') {
		return false
	}
	runs, err := os.Stat(exeOf(pid))
	return err == nil && os.SameFile(runs, program)
}

func killFrozen(pid, parent int, program os.FileInfo) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("thaw init %d: %w", parent, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// Which process has the number cannot change from here on.
	if !isFrozen(pid, parent, program) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("thaw init %d: %w", parent, err)
	}
	return nil
}
