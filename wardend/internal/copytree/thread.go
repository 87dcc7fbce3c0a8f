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
		runtime.LockOSThread()
		restore := becomeOwner(owner)
		err = f()
		if restore() {
			// Otherwise the thread ends with the goroutine, and what was changed with it.
			runtime.UnlockOSThread()
		}
	}()
	<-done
	if panicked != nil {
		panic(panicked) // it is the caller's, as without the thread
	}
	return err
}

// becomeOwner changes this thread alone. What it cannot change, a chown changes later. Restore says whether the thread
// is as it was.
func becomeOwner(owner *Owner) (restore func() bool) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var was [2]unix.CapUserData
	if unix.Capget(&header, &was[0]) != nil {
		return func() bool { return true }
	}
	restore = func() bool {
		_, _ = unix.SetfsuidRetUid(0)
		_, _ = unix.SetfsgidRetGid(0)
		uid, _ := unix.SetfsuidRetUid(-1) // which is nobody, and changes nothing
		gid, _ := unix.SetfsgidRetGid(-1)
		return unix.Capset(&header, &was[0]) == nil && uid == 0 && gid == 0
	}
	_, _ = unix.SetfsgidRetGid(owner.GID)
	_, _ = unix.SetfsuidRetUid(owner.UID)
	is := was
	is[0].Effective = is[0].Effective&^(1<<unix.CAP_SYS_RESOURCE) | is[0].Permitted&fileCapabilities
	if unix.Capset(&header, &is[0]) != nil {
		restore() // root with a chown is better than one who may not read
	}
	return restore
}
