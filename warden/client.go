package warden

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

const (
	defaultMaxIdle     = 8
	defaultDialTimeout = 5 * time.Second
)

// Client asks a Warden server. It is safe for concurrent use: each request has a connection of its own while it
// lasts, taken from a pool of idle ones or made. Connections are made when they are needed and outlive the server
// only until the next use, so a Client may be made before its server is there.
//
// A server counts a container's grace time from the close of the last connection that knew it: the pool's idle
// connections keep containers alive until Close.
type Client struct {
	socket     string
	maxIdle    int
	maxMessage int
	dialer     net.Dialer

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

// Option changes how a Client works.
type Option func(*Client)

// WithMaxIdle sets how many connections without a request are kept; 8 by default, at least 0.
func WithMaxIdle(n int) Option { return func(c *Client) { c.maxIdle = max(n, 0) } }

// WithMaxMessage sets the longest answer in bytes that is accepted; DefaultMaxMessage by default.
func WithMaxMessage(n int) Option { return func(c *Client) { c.maxMessage = n } }

// WithDialTimeout bounds the time for making a connection; 5 s by default.
func WithDialTimeout(d time.Duration) Option { return func(c *Client) { c.dialer.Timeout = d } }

// NewClient makes a client of the server at the unix socket.
func NewClient(socket string, opts ...Option) *Client {
	c := &Client{socket: socket, maxIdle: defaultMaxIdle, maxMessage: DefaultMaxMessage}
	c.dialer.Timeout = defaultDialTimeout
	for _, opt := range opts {
		opt(c)
	}
	return c
}

// Close closes the idle connections. A request that is under way ends as it would; its connection is closed after it.
func (c *Client) Close() error {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.closed = nil, true
	c.mu.Unlock()
	var errs []error
	for _, cn := range idle {
		errs = append(errs, cn.Close())
	}
	return errors.Join(errs...)
}

type conn struct {
	net.Conn
	r *Reader
}

// alive says whether an idle connection can still be used: the server has neither closed it nor said anything on it.
func (cn *conn) alive() bool {
	if cn.r.Buffered() {
		return false
	}
	sc, ok := cn.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}

func (c *Client) take(ctx context.Context) (*conn, error) {
	for {
		cn, err := c.popIdle()
		if err != nil {
			return nil, err
		}
		if cn == nil {
			break
		}
		if cn.alive() {
			return cn, nil
		}
		_ = cn.Close()
	}
	nc, err := c.dialer.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: nc, r: NewReader(nc, c.maxMessage)}, nil
}

func (c *Client) popIdle() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	if len(c.idle) == 0 {
		return nil, nil //nolint:nilnil // none is an answer
	}
	cn := c.idle[len(c.idle)-1]
	c.idle = c.idle[:len(c.idle)-1]
	return cn, nil
}

func (c *Client) put(cn *conn) {
	c.mu.Lock()
	if !c.closed && len(c.idle) < c.maxIdle {
		c.idle = append(c.idle, cn)
		cn = nil
	}
	c.mu.Unlock()
	if cn != nil {
		_ = cn.Close()
	}
}

// ask sends a request and gives each answer's payload to receive until that says that it was the last one.
// The connection is used again only when the exchange was whole.
func (c *Client) ask(ctx context.Context, t wardenpb.Message_Type, req proto.Message, receive func([]byte) (last bool, err error)) error {
	if err := ctx.Err(); err != nil {
		return c.failed(ctx, t, err)
	}
	frame, err := appendFrame(nil, t, req)
	if err != nil {
		return err
	}
	cn, err := c.take(ctx)
	if err != nil {
		return c.failed(ctx, t, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cn.Close() })
	reusable, err := c.exchange(ctx, cn, t, frame, receive)
	if stop() && reusable {
		c.put(cn)
	} else {
		_ = cn.Close()
	}
	return err
}

func (c *Client) exchange(ctx context.Context, cn *conn, t wardenpb.Message_Type, frame []byte, receive func([]byte) (bool, error)) (reusable bool, err error) {
	if _, err := cn.Write(frame); err != nil {
		// A server that closes may have said why before.
		if m, readErr := cn.r.Message(); readErr == nil && m.GetType() == wardenpb.Message_Error {
			return false, serverError(t, m.GetPayload())
		}
		return false, c.failed(ctx, t, err)
	}
	for {
		m, err := cn.r.Message()
		if err != nil {
			return false, c.failed(ctx, t, err)
		}
		switch m.GetType() {
		case wardenpb.Message_Error:
			answer := serverError(t, m.GetPayload())
			// After a bad frame the server closes; it may not have done so when the next request looks.
			return !strings.HasPrefix(answer.Message, badFrame), answer
		case t:
		default:
			return false, c.failed(ctx, t, &MessageError{Reason: fmt.Sprintf("the answer is of type %s", m.GetType())})
		}
		last, err := receive(m.GetPayload())
		if err != nil {
			return false, err
		}
		if last {
			return true, nil
		}
	}
}

func serverError(t wardenpb.Message_Type, payload []byte) *Error {
	var m wardenpb.ErrorResponse
	if err := proto.Unmarshal(payload, &m); err != nil {
		return &Error{Request: t, Message: "an error that cannot be read"}
	}
	return &Error{Request: t, Message: m.GetMessage(), Data: m.GetData(), Backtrace: m.GetBacktrace()}
}

// failed tells the end of the caller's context from the server's absence.
func (c *Client) failed(ctx context.Context, t wardenpb.Message_Type, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("warden %s: %w", strings.ToLower(t.String()), ctx.Err())
	}
	return &unavailableError{socket: c.socket, request: t, err: err}
}
