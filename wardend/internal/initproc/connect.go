package initproc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// helloTimeout bounds the time in which an init that listens says hello: it may have just been started on a busy
// machine.
const helloTimeout = 30 * time.Second

// Connect connects to the init with the state directory dir. It fails with ErrLost when there is none, or when there is
// one that says nothing for half a minute. Any other error, the end of ctx too, says nothing about the init: it may
// well live.
func Connect(ctx context.Context, dir string, events Events) (*Client, error) {
	conn, err := dial(ctx, dir)
	if err != nil {
		return nil, connectError(ctx, err)
	}
	c := &Client{
		conn: conn, events: events,
		writing: make(chan struct{}, 1), pending: map[uint64]chan reply{},
		running: map[uint32]struct{}{}, lost: make(chan struct{}),
	}
	in := newMessages(conn, maxReply)
	if err := c.greet(ctx, in); err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect to the container's init: %w", ctx.Err())
		}
		return nil, fmt.Errorf("%w%s", err, lastWords(dir))
	}
	go c.receive(in)
	return c, nil
}

// dial connects to the socket in the directory, and to no other that a link in its place may lead to.
func dial(ctx context.Context, dir string) (net.Conn, error) {
	state, err := openState(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = state.Close() }()
	socket, path, err := state.socket()
	if err != nil {
		return nil, err
	}
	defer func() { _ = socket.Close() }()
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", path)
}

// connectError tells an init that is gone from one that could not be reached just now: who takes the second for the
// first ends a container that works.
func connectError(ctx context.Context, err error) error {
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.ELOOP) || errors.Is(err, errNotSocket)
	if gone && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return fmt.Errorf("connect to the container's init: %w", err)
}

func (c *Client) greet(ctx context.Context, in *messages) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	var r reply
	if err := in.next(&r); err != nil {
		return fmt.Errorf("%w: it did not say hello: %w", ErrLost, err)
	}
	if r.Hello == nil || r.Hello.Version < OldestVersion || r.Hello.Version > Version {
		return fmt.Errorf("the container's init speaks a version that this wardend does not know (%d to %d)", OldestVersion, Version)
	}
	c.pid, c.version = r.Hello.PID, r.Hello.Version
	return c.conn.SetReadDeadline(time.Time{})
}
