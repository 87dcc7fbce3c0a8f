package cgroups

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// eventfds is v1's source: each group signals an eventfd when it is out of memory, and when it is removed. One epoll
// descriptor holds all of them.
type eventfds struct {
	epoll int
}

func (e *eventfds) open() (*os.File, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll descriptor: %w", err)
	}
	// So that the runtime waits for it together with all that it waits for, without a thread of its own.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	e.epoll = fd
	return os.NewFile(uintptr(fd), "epoll"), nil //nolint:gosec // not negative
}

func (e *eventfds) add(dir string) (int, error) {
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return 0, err
	}
	defer control.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return 0, fmt.Errorf("make an eventfd: %w", err)
	}
	err = register(control, dir, fd)
	if err == nil {
		err = unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}) //nolint:gosec // small
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func register(control *os.File, dir string, fd int) error {
	conn, err := control.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(controlFD uintptr) {
		failed = write(filepath.Join(dir, "cgroup.event_control"), fmt.Sprintf("%d %d", fd, controlFD))
	})
	return errors.Join(err, failed)
}

func (e *eventfds) remove(key int) {
	_ = unix.EpollCtl(e.epoll, unix.EPOLL_CTL_DEL, key, nil)
	_ = unix.Close(key)
}

// atOnce is how many groups' events are taken at once.
const atOnce = 32

func (e *eventfds) take() ([]int, error) {
	var events [atOnce]unix.EpollEvent
	n, err := retry(func() (int, error) { return unix.EpollWait(e.epoll, events[:], 0) })
	if err != nil {
		return nil, fmt.Errorf("wait for eventfds: %w", err)
	}
	keys := make([]int, 0, n)
	for _, event := range events[:n] {
		var count [8]byte
		// Only so that it is not readable any more.
		_, _ = unix.Read(int(event.Fd), count[:])
		keys = append(keys, int(event.Fd))
	}
	return keys, nil
}

// inotify is v2's source: a group's memory.events is modified.
type inotify struct {
	fd int
}

func (i *inotify) open() (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an inotify descriptor: %w", err)
	}
	i.fd = fd
	return os.NewFile(uintptr(fd), "inotify"), nil //nolint:gosec // not negative
}

func (i *inotify) add(dir string) (int, error) {
	path := filepath.Join(dir, "memory.events")
	key, err := unix.InotifyAddWatch(i.fd, path, unix.IN_MODIFY)
	if err != nil {
		return 0, fmt.Errorf("watch %s: %w", path, err)
	}
	return key, nil
}

func (i *inotify) remove(key int) {
	// The kernel has removed it by itself if the file has gone.
	_, _ = unix.InotifyRmWatch(i.fd, uint32(key)) //nolint:gosec // not negative
}

func (i *inotify) take() ([]int, error) {
	var buf [atOnce * unix.SizeofInotifyEvent]byte
	n, err := retry(func() (int, error) { return unix.Read(i.fd, buf[:]) })
	if errors.Is(err, unix.EAGAIN) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wait for changes: %w", err)
	}
	var keys []int
	// Events of files that are watched themselves have no name.
	for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; rest = rest[unix.SizeofInotifyEvent:] {
		key := int(int32(binary.NativeEndian.Uint32(rest))) //nolint:gosec // its type in the kernel
		mask := binary.NativeEndian.Uint32(rest[4:])
		if mask&unix.IN_Q_OVERFLOW != 0 {
			key = everyKey
		}
		keys = append(keys, key)
	}
	return keys, nil
}
