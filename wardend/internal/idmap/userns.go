package idmap

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// UserNamespace returns a new user namespace in which the ids of r are mapped
// as r says, for idmapped mounts. Nobody lives in it; it is gone when the file
// is closed and no mount uses it.
//
// Only a process can make one. A child of this program is started in it, is
// stopped by the kernel before its first instruction, and is ended and reaped
// before UserNamespace returns. If this program dies meanwhile the child dies with it.
//
// The error is that of [Range.Validate], or says what the kernel refuses.
func UserNamespace(r Range) (*os.File, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	// The kernel ties both the tracing and Pdeathsig to the thread: were it to
	// end before the child, the child would be let go or killed too early.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	pid, err := startStopped(r)
	if err != nil {
		return nil, fmt.Errorf("cannot make a user namespace: %w", explain(err))
	}
	// The child is not reaped yet, so the number is still its own.
	file, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err != nil {
		err = fmt.Errorf("cannot open a new user namespace: %w", err)
	}
	if endErr := end(pid); endErr != nil {
		if file != nil {
			file.Close()
		}
		return nil, errors.Join(err, endErr)
	}
	return file, err
}

// startStopped starts this program once more in a user namespace. As it is
// traced, the kernel stops it when exec is done, and nobody lets it go on.
func startStopped(r Range) (int, error) {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(r.Host), Size: int(r.Size)}}
	pid, _, err := syscall.StartProcess("/proc/self/exe", []string{"user-namespace"}, &syscall.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: ids,
			GidMappings: ids,
			Ptrace:      true,
			Pdeathsig:   unix.SIGKILL,
		},
	})
	return pid, err
}

// end kills and reaps the child pid, and no other: children that os/exec
// started elsewhere in this program are for os/exec to wait for.
func end(pid int) error {
	killErr := unix.Kill(pid, unix.SIGKILL)
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("cannot wait for process %d, which held a user namespace: %w", pid, errors.Join(err, killErr))
		case status.Exited(), status.Signaled():
			return nil
		}
		// Else it is the stop after exec, which comes first.
	}
}

// explain adds words to the errors that have a known cause.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return fmt.Errorf("%w (is /proc/sys/user/max_user_namespaces large enough?)", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w (is the kernel built with CONFIG_USER_NS?)", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (it takes root, and /proc/sys/kernel/yama/ptrace_scope below 3)", err)
	}
	return err
}
