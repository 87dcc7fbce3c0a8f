package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/execwire"
	"github.com/durable-dea/dea/internal/runspec"
)

// Session is one command to come.
type Session struct {
	// Root is the container's root directory; empty in a container that has its own.
	Root string
	// Name is that of a directory in PathSessions, which the session makes and removes.
	Name string
	// Stderr receives what went wrong before there is somebody to tell.
	Stderr io.Writer
}

// acceptTimeout is how long the worker may take to come.
const acceptTimeout = 10 * time.Second

// Run runs the session until the command has ended, or ctx does. It gives runspec.ExitOK when the worker heard of the end.
func (s Session) Run(ctx context.Context) int {
	unix.Umask(0o077) // as the app has it
	connection, err := s.accept(ctx)
	if err != nil {
		fmt.Fprintln(s.Stderr, "dea-runner session:", err)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return runspec.ExitNoRoom
		}
		return runspec.ExitLaunch
	}
	defer connection.Close()
	// The container does not wait for a worker that reads no more, since its user does not.
	stop := context.AfterFunc(ctx, func() { _ = connection.SetWriteDeadline(time.Now().Add(hangUpTime + drainTime)) })
	defer stop()
	to := execwire.NewWriter(connection)
	left := make(chan struct{})
	ended, err := s.serve(ctx, connection, to, left)
	if err != nil {
		ended = execwire.Ended{Status: failedStatus, Words: err.Error()}
		close(left)
	}
	explain(ctx, &ended)
	if err := to.WriteJSON(execwire.Exit, ended); err != nil {
		return runspec.ExitLaunch
	}
	// The worker closes when it has read all: what it has not read would be lost if this end closed first.
	_ = connection.SetReadDeadline(time.Now().Add(acceptTimeout))
	<-left
	return runspec.ExitOK
}

// failedStatus is that of a command that could not be begun, as a shell has it.
const failedStatus = 126

// accept waits for the one connection, in a directory that only this user can enter. Afterwards there is nothing of it left.
func (s Session) accept(ctx context.Context) (net.Conn, error) {
	dir := filepath.Join(runspec.Beneath(s.Root, runspec.PathSessions), s.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// A socket's name is short, wherever the container's root is.
	if err := os.Chdir(dir); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: runspec.SessionSocket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	if err := listener.SetDeadline(time.Now().Add(acceptTimeout)); err != nil {
		return nil, err
	}
	return listener.Accept()
}

// serve runs the command that the worker asks for. left is closed when the connection has ended, unless there is an error.
func (s Session) serve(ctx context.Context, connection net.Conn, to *execwire.Writer, left chan struct{}) (execwire.Ended, error) {
	_ = connection.SetReadDeadline(time.Now().Add(acceptTimeout))
	kind, payload, err := execwire.Read(connection)
	if err != nil {
		return execwire.Ended{}, err
	}
	var command execwire.Command
	if kind != execwire.Request || json.Unmarshal(payload, &command) != nil {
		return execwire.Ended{}, errors.New("the request cannot be read")
	}
	_ = connection.SetReadDeadline(time.Time{})
	running, err := begin(command, runspec.Beneath(s.Root, runspec.PathInstanceApp), s.environment(command))
	if err != nil {
		return execwire.Ended{}, fmt.Errorf("the command cannot be started: %w", err)
	}
	go running.hear(connection, to, left)
	return running.await(ctx, left, to), nil
}
