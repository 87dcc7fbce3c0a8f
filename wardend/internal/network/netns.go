package network

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ownNamespace is the calling thread's network namespace.
const ownNamespace = "/proc/thread-self/ns/net"

// inNamespace runs f on a thread in another network namespace.
func (n *Network) inNamespace(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("network namespace cannot be entered: %w", err)
			return
		}
		err := f()
		// A thread that cannot come back ends with this goroutine, locked, and no other goroutine gets it.
		if back := unix.Setns(int(n.home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// openNamespace opens the network namespace of a process, which must not be this one's.
func (n *Network) openNamespace(pid int) (*os.File, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	theirs, err := ns.Stat()
	if err != nil {
		ns.Close()
		return nil, err
	}
	ours, err := n.home.Stat()
	if err == nil && os.SameFile(ours, theirs) {
		err = fmt.Errorf("process %d has no network namespace of its own", pid)
	}
	if err != nil {
		ns.Close()
		return nil, err
	}
	return ns, nil
}
