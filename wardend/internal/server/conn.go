package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/container"
)

// What is read of a connection while a request of it runs, in order to notice its client's end: no more when that many
// messages, or that many bytes of them, wait. The message that passes the bound is still read whole.
const (
	readAhead      = 64
	readAheadBytes = 256 << 10
)

// hangupCheck is how often a connection is looked at that cannot tell of its client's end by being read: the client
// has closed its sending half only, or has sent more than is read ahead.
const hangupCheck = 250 * time.Millisecond

// errGone: the client has gone, or the server is draining. Nothing is to be answered.
var errGone = errors.New("connection is at its end")

// conn is one client's connection.
type conn struct {
	s    *Server
	nc   *net.UnixConn
	refs *container.References
	// gone ends when the client cannot be answered any more.
	gone context.Context //nolint:containedctx // the connection's own life
	cut  context.CancelFunc
	// waiting ends with gone, and when the server drains: for requests that only wait.
	waiting context.Context //nolint:containedctx // as above
	queue   chan message
	// queued are the bytes in the queue; taken is told when they become fewer.
	queued atomic.Int64
	taken  chan struct{}
}

// message is what was read: a request's envelope, or why there is none.
type message struct {
	m   *wardenpb.Message
	err error
	// reserved are the bytes of the server's budget that it has, until it is answered.
	reserved int
}

func (m message) bytes() int64 { return int64(len(m.m.GetPayload())) }

func newConn(s *Server, nc *net.UnixConn) *conn {
	c := &conn{s: s, nc: nc, refs: s.registry.Connect(), queue: make(chan message, readAhead), taken: make(chan struct{}, 1)}
	c.gone, c.cut = context.WithCancel(context.Background())
	return c
}

// run answers requests until the client has no more, or is gone, or the server drains.
func (c *conn) run() {
	waiting, stopWaiting := context.WithCancel(c.gone)
	c.waiting = waiting
	stopDrain := context.AfterFunc(c.s.draining, func() {
		stopWaiting()
		c.hurryWrite()
	})
	closeConn := context.AfterFunc(c.gone, func() { _ = c.nc.Close() })
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read()
	}()
	c.answerAll()
	stopDrain()
	stopWaiting()
	c.cut()
	closeConn()
	_ = c.nc.Close()
	<-read
	for unanswered := range c.queue {
		c.s.room.give(unanswered.reserved)
	}
	c.refs.Close()
}

func (c *conn) answerAll() {
	for {
		select {
		case <-c.s.draining.Done():
			return
		case next, ok := <-c.queue:
			if !ok {
				return
			}
			c.queued.Add(-next.bytes())
			select {
			case c.taken <- struct{}{}:
			default:
			}
			err := c.answer(next)
			c.s.room.give(next.reserved)
			if err != nil {
				return
			}
		}
	}
}

// read reads messages ahead of the answers, until the stream ends or cannot be followed any more.
func (c *conn) read() {
	c.readMessages()
	close(c.queue)
	c.awaitHangup()
}

func (c *conn) readMessages() {
	reader := warden.NewReader(c.nc, c.s.maxMessage)
	reserved := 0
	reader.Reserve(func(n int) error {
		err := c.s.room.take(n)
		if err == nil {
			reserved += n
		}
		return err
	})
	for c.awaitRoom() {
		reserved = 0
		m, err := reader.Message()
		if errors.Is(err, io.EOF) || !c.enqueue(message{m, err, reserved}) {
			c.s.room.give(reserved)
			return
		}
		var bad *warden.MessageError
		if err != nil && !errors.As(err, &bad) {
			return
		}
	}
}

// awaitRoom waits until so few bytes are queued that another message may be read. It says whether the client was
// still there to be answered.
func (c *conn) awaitRoom() bool {
	for c.queued.Load() > readAheadBytes {
		select {
		case <-c.taken:
		case <-c.gone.Done():
			return false
		case <-time.After(hangupCheck):
			if c.hungUp() {
				c.cut()
			}
		}
	}
	return true
}

// enqueue says whether the client was still there to be answered.
func (c *conn) enqueue(m message) bool {
	c.queued.Add(m.bytes())
	select {
	case c.queue <- m:
		return true
	default:
	}
	for {
		select {
		case c.queue <- m:
			return true
		case <-c.gone.Done():
			return false
		case <-time.After(hangupCheck):
			if c.hungUp() {
				c.cut()
			}
		}
	}
}

// awaitHangup returns when all that was read is answered, or the client is gone. One that has closed its sending half
// only may still want its answers.
func (c *conn) awaitHangup() {
	if c.hungUp() {
		c.cut()
		return
	}
	ticker := time.NewTicker(hangupCheck)
	defer ticker.Stop()
	for {
		select {
		case <-c.gone.Done():
			return
		case <-ticker.C:
			if c.hungUp() {
				c.cut()
				return
			}
		}
	}
}

// hungUp says whether the client has closed both halves.
func (c *conn) hungUp() bool {
	raw, err := c.nc.SyscallConn()
	if err != nil {
		return true
	}
	hup := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}} //nolint:gosec // file descriptors are small
		n, pollErr := unix.Poll(fds, 0)
		hup = pollErr == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || hup
}

// answer handles one message. An error ends the connection.
func (c *conn) answer(next message) error {
	if next.err != nil {
		var bad *warden.MessageError
		if errors.As(next.err, &bad) {
			return c.refuse(bad)
		}
		return errors.Join(c.refuse(next.err), errGone)
	}
	req, err := warden.DecodeRequest(next.m)
	if err != nil {
		return c.refuse(err)
	}
	err = c.serve(next.m.GetType(), req)
	if err == nil || errors.Is(err, errGone) {
		return err
	}
	if c.waiting.Err() != nil && errors.Is(err, context.Canceled) {
		return errGone
	}
	c.logRefusal(next.m.GetType(), err)
	return c.refuse(err)
}

func (c *conn) logRefusal(t wardenpb.Message_Type, err error) {
	var refusal *container.Error
	if !errors.As(err, &refusal) {
		c.s.log.Error("request failed", "request", t, "error", err)
	} else {
		c.s.log.Debug("request refused", "request", t, "message", refusal.Message, "cause", refusal.Err)
	}
}

// serve answers a request. A panic is the request's, not the server's.
func (c *conn) serve(t wardenpb.Message_Type, req proto.Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.s.log.Error("a request made the server panic", "request", t, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("internal error in %s", t)
		}
	}()
	if named, ok := req.(interface{ GetHandle() string }); ok {
		c.refs.Name(named.GetHandle())
	}
	res, settle, err := c.dispatch(req)
	if err != nil {
		return err
	}
	err = c.write(t, res)
	if settle != nil {
		settle(err == nil)
	}
	return err
}

func (c *conn) refuse(err error) error {
	return c.write(wardenpb.Message_Error, &wardenpb.ErrorResponse{Message: proto.String(err.Error())})
}

// hurryWrite bounds the write that is under way or about to begin.
func (c *conn) hurryWrite() { _ = c.nc.SetWriteDeadline(time.Now().Add(c.s.lastWrite)) }

func (c *conn) write(t wardenpb.Message_Type, m proto.Message) error {
	if c.s.draining.Err() != nil {
		c.hurryWrite()
	}
	if err := warden.Write(c.nc, t, m); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}
