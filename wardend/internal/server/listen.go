package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listen makes the socket, with a mode and a group of its own (gid -1: the group of who runs this) before anybody whom
// they do not allow can connect: until it has its group, it is its owner's alone. A socket that nobody listens on any
// more is replaced; one that answers is an error.
func Listen(ctx context.Context, path string, mode fs.FileMode, gid int) (*net.UnixListener, error) {
	if err := clearStale(ctx, path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		// The kernel gives the socket's file this mode, less the umask, when it makes it.
		return errors.Join(c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode.Perm()&ownersBits)) }), err)
	}}
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	unixListener, ok := listener.(*net.UnixListener)
	if !ok {
		_ = listener.Close()
		return nil, fmt.Errorf("listen on %s: no unix socket", path)
	}
	if err := openTo(path, mode, gid); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return unixListener, nil
}

// ownersBits are the permissions of a file's owner.
const ownersBits = 0o700

// openTo gives a socket its group and then its mode. It works on what has the name now, even if that changes.
func openTo(path string, mode fs.FileMode, gid int) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFSOCK || int64(info.Uid) != int64(os.Geteuid()) {
		return errors.New("somebody has put something else there")
	}
	if gid >= 0 {
		if err := unix.Fchownat(fd, "", -1, gid, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("give it to group %d: %w", gid, err)
		}
	}
	return os.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode.Perm())
}

// LookupGroup answers the id of a group that is named, or is a number already; -1 for an empty name.
func LookupGroup(name string) (gid int, err error) {
	if name == "" {
		return -1, nil
	}
	if number, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(number), nil
	}
	group, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	return strconv.Atoi(group.Gid)
}

func clearStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on %s: there is something else than a socket", path)
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("listen on %s: another server is listening there", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	return nil
}
