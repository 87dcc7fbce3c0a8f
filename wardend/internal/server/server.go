package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/wardend/internal/container"
)

// Server answers the requests that come in over a listener.
type Server struct {
	registry   *container.Registry
	log        hclog.Logger
	maxMessage int
	// room bounds what the connections have read together.
	room *budget
	// lastWrite is how long a client may take to read an answer when the server drains.
	lastWrite time.Duration

	// draining ends when the server is to stop.
	draining context.Context //nolint:containedctx // the server's own life
	drain    context.CancelFunc

	mu       sync.Mutex
	listener *net.UnixListener
	conns    map[*conn]bool
	open     sync.WaitGroup
}

// lastWrite is Server.lastWrite by default: one who does not read must not keep a server from ending.
const lastWrite = 5 * time.Second

// roomFor is how many requests of the longest kind are read at a time, of all connections together. Requests up to
// 64 KiB, which nearly all are, do not count.
const roomFor = 4

// New makes a server of the registry's containers. MaxMessage is the longest request in bytes, warden's default if 0.
func New(registry *container.Registry, maxMessage int, log hclog.Logger) *Server {
	if maxMessage <= 0 {
		maxMessage = warden.DefaultMaxMessage
	}
	s := &Server{
		registry: registry, log: log, maxMessage: maxMessage, room: newBudget(roomFor * int64(maxMessage)),
		lastWrite: lastWrite, conns: map[*conn]bool{},
	}
	s.draining, s.drain = context.WithCancel(context.Background())
	return s
}

// Serve takes connections until Shutdown, and then returns nil.
func (s *Server) Serve(listener *net.UnixListener) error {
	s.mu.Lock()
	s.listener = listener
	s.mu.Unlock()
	if s.draining.Err() != nil {
		_ = listener.Close()
	}
	const longest = time.Second
	pause := time.Millisecond
	for {
		nc, err := listener.AcceptUnix()
		switch {
		case s.draining.Err() != nil:
			if nc != nil {
				_ = nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			// Too many open files, most likely: it passes.
			s.log.Error("cannot take a connection", "error", err)
			time.Sleep(pause)
			pause = min(2*pause, longest)
			continue
		}
		pause = time.Millisecond
		s.start(nc)
	}
}

func (s *Server) start(nc *net.UnixConn) {
	s.mu.Lock()
	if s.draining.Err() != nil {
		// Shutdown may not wait for it any more.
		s.mu.Unlock()
		_ = nc.Close()
		return
	}
	c := newConn(s, nc)
	s.conns[c] = true
	s.open.Add(1)
	s.mu.Unlock()
	go func() {
		c.run()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.open.Done()
	}()
}

// Shutdown stops taking connections, closes those that wait in Link, Run or Stream and those without a request, and
// lets other requests end; who does not read its answer within some seconds is given up. When ctx ends, what is left is cut off.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.drain()
	if s.listener != nil {
		_ = s.listener.Close()
	}
	s.mu.Unlock()
	closed := make(chan struct{})
	go func() {
		s.open.Wait()
		close(closed)
	}()
	select {
	case <-closed:
		return
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.log.Warn("requests are cut off", "connections", len(s.conns))
	for c := range s.conns {
		c.cut()
	}
	s.mu.Unlock()
	<-closed
}
