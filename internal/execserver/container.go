package execserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/internal/containerpath"
	"github.com/durable-dea/dea/internal/execwire"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

const (
	// reachTimeout is how long a session's runner may take to be there.
	reachTimeout = 10 * time.Second
	// reachPause is between two looks whether it is.
	reachPause = 2 * time.Millisecond
)

// begin has a command begin in an instance's container, and gives the connection to its runner.
func (s *Server) begin(ctx context.Context, i supervisor.Instance, command execwire.Command) (net.Conn, error) {
	connection, err := s.reach(ctx, i)
	if err != nil {
		return nil, err
	}
	// Before anything else is said, and to an app's runner, which may not read it.
	_ = connection.SetWriteDeadline(time.Now().Add(reachTimeout))
	if err := execwire.NewWriter(connection).WriteJSON(execwire.Request, command); err != nil {
		_ = connection.Close()
		return nil, fmt.Errorf("ask for a command: %w", err)
	}
	_ = connection.SetWriteDeadline(time.Time{})
	return connection, nil
}

// reach has Warden begin a session in an instance's container, and connects to it.
func (s *Server) reach(ctx context.Context, i supervisor.Instance) (net.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, reachTimeout)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	name := hex.EncodeToString(random[:])
	job, err := s.options.Warden.Spawn(ctx, &wardenpb.SpawnRequest{
		Handle:        proto.String(i.ID),
		Script:        proto.String(runspec.RunnerScript(nil, "session", "--name", name)),
		DiscardOutput: proto.Bool(true),
		Rlimits:       warden.Limits(i.Limits.FDs, s.options.NProc),
	})
	if err != nil {
		return nil, fmt.Errorf("begin a session: %w", err)
	}
	// Warden forgets a job when somebody has heard of its end. With it there is nothing left to wait for.
	s.running.Go(func() {
		ended, err := s.options.Warden.Link(s.ctx, &wardenpb.LinkRequest{Handle: proto.String(i.ID), JobId: proto.Uint32(job.GetJobId())})
		switch {
		case err != nil:
		case ended.GetExitStatus() == runspec.ExitNoRoom:
			err = errNoRoom
		default:
			err = fmt.Errorf("its runner ended with status %d", ended.GetExitStatus())
		}
		cancel(err)
	})
	for {
		connection, err := dial(i.ContainerPath, path.Join(runspec.PathSessions, name, runspec.SessionSocket))
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) {
			return connection, err
		}
		if !pause.For(ctx, reachPause) {
			return nil, fmt.Errorf("reach a session: %w: %w", context.Cause(ctx), err)
		}
	}
}

// errNoRoom: the instance's disk is full, or has as many files as it may.
var errNoRoom = errors.New("the instance's disk has no room for a session")

// errNoSocket: an app has put something else in a socket's place.
var errNoSocket = errors.New("a session's socket is none")

// dial connects to a socket in a container. Any of the path may be the app's work: no link is followed, and what is connected to is
// what was looked at.
func dial(containerPath, contract string) (net.Conn, error) {
	root, err := containerpath.Open(containerPath)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), containerpath.Beneath(contract), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: contract, Err: err}
	}
	socket := os.NewFile(uintptr(fd), contract)
	defer socket.Close()
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return nil, err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errNoSocket
	}
	// A listener whose queue is full would keep the dialer waiting, were it not for its timeout.
	return (&net.Dialer{Timeout: reachTimeout}).Dial("unix", "/proc/self/fd/"+strconv.Itoa(fd))
}
