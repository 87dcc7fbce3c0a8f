package initproc

import (
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// setRlimits answers which limits were set lower than asked for: an unprivileged init cannot raise a hard limit.
func setRlimits(pid int, limits []Rlimit) (lowered []string) {
	for _, l := range limits {
		err := unix.Prlimit(pid, l.Resource, &unix.Rlimit{Cur: l.Value, Max: l.Value}, nil)
		if err == nil || errors.Is(err, unix.ESRCH) {
			continue
		}
		var now unix.Rlimit
		if unix.Prlimit(pid, l.Resource, nil, &now) == nil {
			now.Cur = min(l.Value, now.Max)
			_ = unix.Prlimit(pid, l.Resource, &now, nil)
		}
		lowered = append(lowered, l.Name)
	}
	return lowered
}

// awaitExec waits, where it matters, until the program runs, and gives what is left to feed it. The kernel puts the
// stack's limit of before back at the very end of exec, later than anything that the parent is told: so the program
// is given one byte, which it can do nothing with, and the limit is set when it has read that.
func awaitExec(stdin *os.File, spec *SpawnSpec) (rest []byte) {
	isStack := func(l Rlimit) bool { return l.Resource == unix.RLIMIT_STACK }
	if len(spec.Stdin) == 0 || !slices.ContainsFunc(spec.Rlimits, isStack) {
		return spec.Stdin
	}
	if _, err := stdin.Write(spec.Stdin[:1]); err != nil {
		return nil
	}
	raw, err := stdin.SyscallConn()
	if err != nil {
		return spec.Stdin[1:]
	}
	const longest, pause = time.Second, 200 * time.Microsecond
	for deadline := time.Now().Add(longest); time.Now().Before(deadline); time.Sleep(pause) {
		unread := 0
		if raw.Control(func(fd uintptr) { unread, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) != nil || err != nil || unread == 0 {
			break
		}
	}
	return spec.Stdin[1:]
}
