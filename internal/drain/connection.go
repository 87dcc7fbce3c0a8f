package drain

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/syslog"
)

const (
	// dialTimeout bounds the making of a connection, with the look-up of its name and TLS.
	dialTimeout = 10 * time.Second
	// writeTimeout is how long a drain may take none of writeSize bytes before it is given up.
	writeTimeout = 30 * time.Second
	writeSize    = 16 << 10
	// kernelBuffer is what the kernel holds of one connection, in bytes, which it may double: enough for what an app may write to
	// a drain at the other end of the world. Left to itself it takes several MiB where a drain wants that.
	kernelBuffer = 256 << 10
	// heardSize is what is read at once of what a drain says, and heardPause comes after as much as that: none should say
	// anything, and one that says much waits.
	heardSize  = 4 << 10
	heardPause = 10 * time.Millisecond
	// unheard is how long the other side's kernel may acknowledge nothing before the connection is taken for broken.
	unheard = 30 * time.Second
)

// ErrClosed is in the error of a connection that the other side has closed.
var ErrClosed = errors.New("the drain has closed the connection")

// connection is one to a drain. It is for one goroutine.
type connection struct {
	net.Conn
	// socket is what Conn goes over.
	socket *counted
	// broken is closed when the other side has closed it, or it is broken; end is why.
	broken chan struct{}
	end    error
}

// counted counts what is written to a connection, as it goes over the wire.
type counted struct {
	net.Conn
	written atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// dialer makes connections.
type dialer struct {
	egress egress
	// roots are nil for those of the system.
	roots *x509.CertPool
}

// dial connects, within dialTimeout. Who dials closes the connection.
func (d dialer) dial(ctx context.Context, to syslog.Address) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	network := "tcp"
	if to.Scheme == syslog.UDP {
		network = "udp"
	}
	plain := net.Dialer{
		Control: d.control,
		// The system's resolver holds a thread for as long as a name server says nothing, of which all of the worker has so many.
		Resolver:        &net.Resolver{PreferGo: true},
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 10 * time.Second, Count: 3},
	}
	raw, err := plain.DialContext(ctx, network, to.Target())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if sized, ok := raw.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = sized.SetWriteBuffer(kernelBuffer) // without, it costs more
	}
	c := &connection{socket: &counted{Conn: raw}, broken: make(chan struct{})}
	c.Conn = c.socket
	if to.Scheme == syslog.TLS {
		secure := tls.Client(c.socket, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: to.Host, RootCAs: d.roots})
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("agree on TLS: %w", err)
		}
		c.Conn = secure
	}
	go c.listen()
	return c, nil
}

// control is called with the address that is connected to.
func (d dialer) control(network, address string, raw syscall.RawConn) error {
	if err := d.egress.check(address); err != nil {
		return err
	}
	if network[:3] != "tcp" {
		return nil
	}
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unheard.Milliseconds()))
	})
	return errors.Join(err, failed)
}

// listen waits for the end of the connection: whatever comes is dropped, and nobody can keep the worker busy with it.
func (c *connection) listen() {
	defer close(c.broken)
	var heard [heardSize]byte
	for {
		if _, err := io.ReadFull(c.Conn, heard[:]); err != nil {
			if !errors.Is(err, io.EOF) {
				c.end = err
			}
			return
		}
		time.Sleep(heardPause)
	}
}

// hasEnded tells whether the other side has closed the connection in an orderly way. It had then read all that it had
// acknowledged: a kernel resets a connection that is closed before.
func (c *connection) hasEnded() bool {
	return c.isBroken() && (c.end == nil || errors.Is(c.end, io.ErrUnexpectedEOF)) // one without TLS's goodbye
}

func (c *connection) isBroken() bool {
	select {
	case <-c.broken:
		return true
	default:
		return false
	}
}

// send writes all of it, unless the drain takes nothing for writeTimeout, or ctx ends. After an error the connection is of no
// more use.
func (c *connection) send(ctx context.Context, text []byte) error {
	defer context.AfterFunc(ctx, func() { _ = c.SetWriteDeadline(time.Unix(1, 0)) })()
	for len(text) > 0 {
		part := text[:min(len(text), writeSize)]
		if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if ctx.Err() != nil { // it may have ended just before
			return context.Cause(ctx)
		}
		if _, err := c.Write(part); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		text = text[len(part):]
	}
	return nil
}

// written is how many bytes were handed to the kernel so far.
func (c *connection) written() int64 { return c.socket.written.Load() }

// taken is how many of them the other side's kernel has acknowledged; all of them where nobody acknowledges any.
func (c *connection) taken() int64 {
	written, waiting := c.written(), 0
	tcp, ok := c.socket.Conn.(*net.TCPConn)
	if !ok {
		return written
	}
	failed := errors.New("not asked")
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { waiting, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	}
	if failed != nil {
		return 0
	}
	return written - int64(waiting)
}

// goodbyeTime is how long TLS may take for its last word, for which package tls waits 5 s where nobody reads.
const goodbyeTime = 100 * time.Millisecond

// close leaves what was written to the kernel, which goes on to send it, and waits for the end of listen.
func (c *connection) close() {
	late := time.AfterFunc(goodbyeTime, func() { _ = c.socket.Close() })
	defer late.Stop()
	_ = c.Close()
	<-c.broken
}
