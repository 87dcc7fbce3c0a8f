package copytree

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Capabilities that let root pass over permissions of files. The kernel takes them from a thread whose file system
// user is not root.
const fileCapabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID

// asOwner calls f on a thread of its own whose files belong to the owner from the moment they are made: no file of
// root's is ever seen in a container, and where it has mounted file systems of its own, in which the host's root does
// not exist, files can be made at all. It may do with files what root may, but for one thing: it has no right to more
// room than a limit allows. Without root it just calls f.
func asOwner(owner *Owner, f func() error) error {
	if owner == nil || owner.UID < 0 || owner.GID < 0 || os.Geteuid() != 0 {
		return f()
	}
	var err error
	var panicked any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		// Never unlocked: the thread ends with the goroutine, and what is changed here with it.
		runtime.LockOSThread()
		becomeOwner(owner)
		err = f()
	}()
	<-done
	if panicked != nil {
		panic(panicked) // it is the caller's, as without the thread
	}
	return err
}

// becomeOwner changes this thread alone. What it cannot change, a chown changes later.
func becomeOwner(owner *Owner) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var was [2]unix.CapUserData
	if unix.Capget(&header, &was[0]) != nil {
		return
	}
	_, _ = unix.SetfsgidRetGid(owner.GID)
	_, _ = unix.SetfsuidRetUid(owner.UID)
	was[0].Effective = was[0].Effective&^(1<<unix.CAP_SYS_RESOURCE) | was[0].Permitted&fileCapabilities
	if unix.Capset(&header, &was[0]) != nil {
		// Root's again, and its capabilities come back with that.
		_, _ = unix.SetfsuidRetUid(0)
		_, _ = unix.SetfsgidRetGid(0)
	}
}
