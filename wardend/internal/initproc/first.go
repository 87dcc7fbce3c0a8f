package initproc

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// jobCapabilities are what jobs of a container's root have, within the container's user namespace: what a user needs
// who administers its files and users. Docker gives these as well, and five more, which are not here for a reason:
//
//   - SETPCAP: the init has it, and needs it to take the others away; so no job ever has all capabilities of the init's,
//     and that is what the kernel looks at before it lets one process look into another.
//   - NET_RAW: forged addresses on the network that containers share. ping does without (net.ipv4.ping_group_range).
//   - MKNOD and AUDIT_WRITE: they do nothing in a user namespace.
//   - SYS_RESOURCE (which Docker does not give either): rlimits are the client's to set.
func jobCapabilities() []uintptr {
	return []uintptr{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL,
		unix.CAP_NET_BIND_SERVICE, unix.CAP_SETFCAP, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SYS_CHROOT,
	}
}

var errNotFirst = errors.New("an init with " + argState + " has to be process 1 of a container")

// beFirst makes this process, which is process 1 of a container, one that nobody in the container can look into, with
// the state directory as its current one.
//
// That is a directory of the machine, and /proc/1/cwd leads there. Three things keep the container's root off it, each
// by itself: this process is not dumpable, its group ids are not all the same, and it has a capability that no job has.
func beFirst(o options) (forker, error) {
	if os.Getpid() != 1 {
		// Its way of ending all processes would end all of the machine's.
		return nil, errNotFirst
	}
	if err := hide(); err != nil {
		return nil, err
	}
	// Who has the same user and groups may set a process's rlimits, and with that end it.
	if err := syscall.Setresgid(-1, -1, savedGID); err != nil {
		return nil, fmt.Errorf("set the saved group: %w", err)
	}
	if err := unix.Fchdir(o.state); err != nil {
		return nil, fmt.Errorf("state directory at file descriptor %d: %w", o.state, err)
	}
	if err := unix.Close(o.state); err != nil {
		return nil, fmt.Errorf("state directory at file descriptor %d: %w", o.state, err)
	}
	return newThreadForker(o)
}

// savedGID is the init's saved group id, any but its others.
const savedGID = 1

// hide makes the process one that others can neither trace nor follow into its files, and that leaves no core.
func hide() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep other processes out: %w", err)
	}
	return nil
}

// confineThread leaves this thread, and what it forks, no more than jobs may have: of what a program of root's gets by
// being run, jobCapabilities are left, and a program of another user's gets nothing. The thread itself keeps what it
// has: it is needed to become the job's user.
func confineThread() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	const words = 2
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [words]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for i := range data {
		data[i].Inheritable = 0
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("drop inheritable capabilities: %w", err)
	}
	return dropBounding(jobCapabilities())
}

// dropBounding drops all but some capabilities from this thread's bounding set.
func dropBounding(but []uintptr) error {
	keep := map[uintptr]bool{}
	for _, c := range but {
		keep[c] = true
	}
	for c := uintptr(0); ; c++ {
		has, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, c, 0)
		if errno == unix.EINVAL {
			return nil // The kernel has no more.
		}
		if errno != 0 {
			return fmt.Errorf("read capability %d: %w", c, errno)
		}
		if has == 0 || keep[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d (that needs CAP_SETPCAP): %w", c, err)
		}
	}
}

// caught are the signals that an init catches. In a container its root can send it any; what a process 1 does not catch
// does nothing to it, but Go's runtime catches those of a crash, and would crash.
func caught(contained bool) []os.Signal {
	signals := []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2}
	if !contained {
		return signals
	}
	for _, s := range []syscall.Signal{
		unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGPIPE, unix.SIGALRM,
		unix.SIGSTKFLT, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGSYS,
	} {
		signals = append(signals, s)
	}
	return signals
}
