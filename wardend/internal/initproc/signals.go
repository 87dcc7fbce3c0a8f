package initproc

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resetCancel gives glibc's signal for cancelling threads its default back. Who starts a process with glibc's
// posix_spawn, as make does, leaves it ignored, and what is ignored jobs would inherit; Go does not touch it. (The next
// one is Go's own while it runs, and at its default after exec.)
func resetCancel() error {
	const (
		sigCancel = 32
		setBytes  = 8
	)
	// The kernel's struct sigaction, with SIG_DFL and no flags on every architecture.
	var action [4]uint64
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sigCancel, uintptr(unsafe.Pointer(&action)), 0, setBytes, 0, 0)
	if errno != 0 {
		return fmt.Errorf("reset signal %d: %w", sigCancel, errno)
	}
	return nil
}
