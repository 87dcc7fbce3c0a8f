package ociruntime

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const (
	fsV1 = "cgroup"
	fsV2 = "cgroup2"
)

// leftovers are the mount points of cgroup v2 on a machine that has v1 hierarchies; nothing on any other.
func leftovers() ([]string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter(fsV1, fsV2))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var v2 []string
	v1 := false
	for _, m := range mounts {
		if m.FSType == fsV2 {
			v2 = append(v2, m.Mountpoint)
		} else {
			v1 = true
		}
	}
	if !v1 {
		return nil, nil
	}
	return v2, nil
}

// onThread calls do on a thread that does nothing else meanwhile: a process is killed at its parent's death (Pdeathsig)
// when the thread ends that started it.
//
// With something to hide, the thread has a mount namespace of its own without it, made anew each time, so that all
// mounts of now are in it; it ends with do, since such a thread can serve nobody else. Processes that do starts are in
// that namespace.
func onThread(hide []string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		switch {
		case len(hide) == 0:
			done <- do()
			runtime.UnlockOSThread()
		case unix.Gettid() == unix.Getpid():
			// The first thread cannot end, and what /proc/self shows of the process is this thread's. While it
			// is held, another one is found.
			done <- onThread(hide, do)
			runtime.UnlockOSThread()
		default:
			err := hideMounts(hide)
			if err == nil {
				err = do()
			}
			done <- err
			// Still locked: the thread ends here.
		}
	}()
	return <-done
}

// hideMounts takes the calling thread into a mount namespace of its own, and mounts out of it.
func hideMounts(points []string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	// Nothing goes from here to the machine; what is unmounted there goes here too, and is not kept busy.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separate the mounts: %w", err)
	}
	for _, point := range points {
		// Not mounted any more is as good.
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("hide %s: %w", point, err)
		}
	}
	return nil
}
