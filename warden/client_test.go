package warden

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is a server whose answers the test writes itself; wardend's own tests use this client against a real one.
type peer struct {
	t        *testing.T
	socket   string
	listener net.Listener
	accepted atomic.Int32
	conns    sync.WaitGroup
	answer   func(conn net.Conn, m *wardenpb.Message) error
}

var errHangUp = errors.New("hang up")

func startPeer(t *testing.T, answer func(net.Conn, *wardenpb.Message) error) *peer {
	t.Helper()
	dir, err := os.MkdirTemp("", "warden")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &peer{t: t, socket: filepath.Join(dir, "s"), answer: answer}
	p.start()
	return p
}

func (p *peer) start() {
	p.t.Helper()
	listener, err := net.Listen("unix", p.socket)
	require.NoError(p.t, err)
	p.listener = listener
	p.conns.Go(func() {
		var open []net.Conn
		for {
			conn, err := listener.Accept()
			if err != nil {
				for _, conn := range open {
					_ = conn.Close()
				}
				return
			}
			p.accepted.Add(1)
			open = append(open, conn)
			p.conns.Go(func() {
				defer func() { _ = conn.Close() }()
				r := NewReader(conn, 0)
				for {
					m, err := r.Message()
					if err != nil || p.answer(conn, m) != nil {
						return
					}
				}
			})
		}
	})
	p.t.Cleanup(p.stop)
}

func (p *peer) stop() {
	_ = p.listener.Close()
	p.conns.Wait()
}

func pong(conn net.Conn, m *wardenpb.Message) error {
	return Write(conn, m.GetType(), &wardenpb.PingResponse{})
}

func client(t *testing.T, socket string, opts ...Option) *Client {
	t.Helper()
	c := NewClient(socket, opts...)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func ping(ctx context.Context, c *Client) error {
	_, err := c.Ping(ctx, &wardenpb.PingRequest{})
	return err
}

func TestClientUsesConnectionsAgain(t *testing.T) {
	p := startPeer(t, pong)
	c := client(t, p.socket)
	for range 10 {
		require.NoError(t, ping(t.Context(), c))
	}
	require.EqualValues(t, 1, p.accepted.Load())
}

func TestClientGivesABlockedRequestItsOwnConnection(t *testing.T) {
	release := make(chan struct{})
	linked := make(chan struct{})
	p := startPeer(t, func(conn net.Conn, m *wardenpb.Message) error {
		if m.GetType() == wardenpb.Message_Link {
			close(linked)
			<-release
			return Write(conn, m.GetType(), &wardenpb.LinkResponse{ExitStatus: proto.Uint32(3)})
		}
		return pong(conn, m)
	})
	c := client(t, p.socket)
	done := make(chan uint32)
	go func() {
		res, _ := c.Link(context.Background(), &wardenpb.LinkRequest{Handle: proto.String("h"), JobId: proto.Uint32(1)})
		done <- res.GetExitStatus()
	}()
	<-linked
	require.NoError(t, ping(t.Context(), c))
	close(release)
	require.EqualValues(t, 3, <-done)
	require.EqualValues(t, 2, p.accepted.Load())
}

func TestClientKeepsFewConnections(t *testing.T) {
	const many = 6
	var waiting sync.WaitGroup
	waiting.Add(many)
	p := startPeer(t, func(conn net.Conn, m *wardenpb.Message) error {
		waiting.Done()
		waiting.Wait()
		return pong(conn, m)
	})
	c := client(t, p.socket, WithMaxIdle(2))
	var all sync.WaitGroup
	for range many {
		all.Go(func() { _ = ping(context.Background(), c) })
	}
	all.Wait()
	require.EqualValues(t, many, p.accepted.Load())
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Len(t, c.idle, 2)
}

func TestClientWithoutServer(t *testing.T) {
	c := client(t, filepath.Join(t.TempDir(), "none"))
	err := ping(t.Context(), c)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "warden ping: no answer from the server at ")
	require.NoError(t, c.Close())
	require.ErrorIs(t, ping(t.Context(), c), ErrUnavailable)
}

func TestClientSurvivesARestartOfTheServer(t *testing.T) {
	p := startPeer(t, pong)
	c := client(t, p.socket)
	for range 3 {
		require.NoError(t, ping(t.Context(), c))
		p.stop()
		require.ErrorIs(t, ping(t.Context(), c), ErrUnavailable)
		p.start()
		require.NoError(t, ping(t.Context(), c), "idle connections of the old server are not used")
	}
}

func TestClientLosesTheServer(t *testing.T) {
	p := startPeer(t, func(net.Conn, *wardenpb.Message) error { return errHangUp })
	require.ErrorIs(t, ping(t.Context(), client(t, p.socket)), ErrUnavailable)
}

func TestClientEndsWithItsContext(t *testing.T) {
	gone := make(chan struct{})
	p := startPeer(t, func(conn net.Conn, m *wardenpb.Message) error {
		if m.GetType() != wardenpb.Message_Run {
			return pong(conn, m)
		}
		_, err := conn.Read(make([]byte, 1))
		close(gone)
		return err
	})
	c := client(t, p.socket)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Run(ctx, &wardenpb.RunRequest{Handle: proto.String("h"), Script: proto.String("x")})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, ErrUnavailable)
	<-gone // the server sees it
	cancelled, cancelNow := context.WithCancel(t.Context())
	cancelNow()
	require.ErrorIs(t, ping(cancelled, c), context.Canceled)
	require.NoError(t, ping(t.Context(), c))
}

func TestClientTellsErrorsApart(t *testing.T) {
	for message, sentinel := range map[string]error{
		"unknown handle": ErrUnknownHandle,
		"no such job":    ErrNoSuchJob,
		"container with handle: a b already exists.":                                  ErrHandleInUse,
		"rootfs /a:/b c not found":                                                    ErrNoRootfs,
		"Container state must be one of 'active', current state is 'stopped'":         ErrWrongState,
		"Container state must be one of 'born, active', current state is 'destroyed'": ErrWrongState,
		"command exited with failure":                                                 ErrCopyFailed,
		"something else":                                                              nil,
	} {
		p := startPeer(t, func(conn net.Conn, _ *wardenpb.Message) error {
			return Write(conn, wardenpb.Message_Error, &wardenpb.ErrorResponse{Message: &message, Data: proto.String("d"), Backtrace: []string{"b"}})
		})
		c := client(t, p.socket)
		err := ping(t.Context(), c)
		var answer *Error
		require.ErrorAs(t, err, &answer)
		require.Equal(t, &Error{Request: wardenpb.Message_Ping, Message: message, Data: "d", Backtrace: []string{"b"}}, answer)
		require.Equal(t, "warden ping: "+message, err.Error())
		for _, s := range []error{ErrUnknownHandle, ErrNoSuchJob, ErrHandleInUse, ErrNoRootfs, ErrWrongState, ErrCopyFailed, ErrUnavailable} {
			require.Equal(t, errors.Is(s, sentinel), errors.Is(err, s), "%s is %v", message, s)
		}
		require.Error(t, ping(t.Context(), c))
		require.EqualValues(t, 1, p.accepted.Load(), "an Error leaves the connection usable")
	}
}

// TestClientLeavesAConnectionAfterABadFrame: the server is about to close it.
func TestClientLeavesAConnectionAfterABadFrame(t *testing.T) {
	message := (&FrameError{Reason: "too long"}).Error()
	p := startPeer(t, func(conn net.Conn, _ *wardenpb.Message) error {
		return Write(conn, wardenpb.Message_Error, &wardenpb.ErrorResponse{Message: &message})
	})
	c := client(t, p.socket)
	for range 2 {
		require.ErrorContains(t, ping(t.Context(), c), "too long")
	}
	require.EqualValues(t, 2, p.accepted.Load())
}

func TestClientStreams(t *testing.T) {
	p := startPeer(t, func(conn net.Conn, m *wardenpb.Message) error {
		for _, res := range []*wardenpb.StreamResponse{
			{Name: proto.String("stdout"), Data: proto.String("a")},
			{Name: proto.String("stderr"), Data: proto.String("b")},
			{ExitStatus: proto.Uint32(4)},
		} {
			if err := Write(conn, m.GetType(), res); err != nil {
				return err
			}
		}
		return nil
	})
	c := client(t, p.socket)
	req := &wardenpb.StreamRequest{Handle: proto.String("h"), JobId: proto.Uint32(1)}
	var got string
	last, err := c.Stream(t.Context(), req, func(res *wardenpb.StreamResponse) error {
		got += res.GetName() + res.GetData()
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, "stdoutastderrb", got)
	require.EqualValues(t, 4, last.GetExitStatus())

	enough := errors.New("enough")
	_, err = c.Stream(t.Context(), req, func(*wardenpb.StreamResponse) error { return enough })
	require.Equal(t, enough, err)
	_, err = c.Stream(t.Context(), req, func(*wardenpb.StreamResponse) error { return nil })
	require.NoError(t, err)
	require.EqualValues(t, 2, p.accepted.Load(), "a connection with answers left on it is not used again")
}

func TestClientRefusesWhatIsNoAnswer(t *testing.T) {
	for name, write := range map[string]func(net.Conn) error{
		"other type":    func(conn net.Conn) error { return Write(conn, wardenpb.Message_Info, &wardenpb.InfoResponse{}) },
		"garbage":       func(conn net.Conn) error { _, err := conn.Write([]byte("garbage")); return errors.Join(err, errHangUp) },
		"bad payload":   func(conn net.Conn) error { _, err := conn.Write([]byte("5\r\n\x08\x5d\x12\x01\xff\r\n")); return err },
		"field missing": func(conn net.Conn) error { return Write(conn, wardenpb.Message_Echo, &wardenpb.PingResponse{}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := startPeer(t, func(conn net.Conn, _ *wardenpb.Message) error { return write(conn) })
			_, err := client(t, p.socket).Echo(t.Context(), &wardenpb.EchoRequest{Message: proto.String("x")})
			require.ErrorIs(t, err, ErrUnavailable)
		})
	}
}

func TestClientDoesNotSendWhatIsIncomplete(t *testing.T) {
	p := startPeer(t, pong)
	_, err := client(t, p.socket).Link(t.Context(), &wardenpb.LinkRequest{})
	require.ErrorContains(t, err, "required field")
	require.Zero(t, p.accepted.Load())
}
