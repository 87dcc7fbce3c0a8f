package initproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrLost: the init is gone, or its connection is.
var ErrLost = errors.New("the container's init is gone")

// Events are told as they come, one after the other, from one goroutine: they must not block. Each may be nil.
type Events struct {
	// Ended: a job has ended. It may come before the Spawn of the job has returned.
	Ended func(JobStatus)
	// Output: a watched job has more output.
	Output func(job uint32)
	// Lost: the connection has ended other than by Close or Shutdown. Nothing comes after it.
	Lost func(error)
}

// Client drives one init. It is safe for concurrent use.
type Client struct {
	conn   net.Conn
	events Events
	pid    int

	writeMu sync.Mutex

	mu      sync.Mutex
	next    uint64
	pending map[uint64]chan reply
	closing bool
	lost    chan struct{}
}

// helloTimeout bounds the time in which an init that listens says hello: it may have just been started on a busy
// machine.
const helloTimeout = 30 * time.Second

// Connect connects to the init with the state directory dir. It fails with ErrLost when there is none, or when there is
// one that says nothing for half a minute. Any other error, the end of ctx too, says nothing about the init: it may
// well live.
func Connect(ctx context.Context, dir string, events Events) (*Client, error) {
	var conn net.Conn
	err := withShortPath(dir, func(path string) (err error) {
		var dialer net.Dialer
		conn, err = dialer.DialContext(ctx, "unix", path)
		return err
	})
	if err != nil {
		return nil, connectError(ctx, err)
	}
	c := &Client{conn: conn, events: events, pending: map[uint64]chan reply{}, lost: make(chan struct{})}
	decoder := json.NewDecoder(conn)
	if err := c.greet(ctx, decoder); err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect to the container's init: %w", ctx.Err())
		}
		return nil, fmt.Errorf("%w%s", err, lastWords(dir))
	}
	go c.receive(decoder)
	return c, nil
}

// connectError tells an init that is gone from one that could not be reached just now: who takes the second for the
// first ends a container that works.
func connectError(ctx context.Context, err error) error {
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ECONNREFUSED)
	if gone && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return fmt.Errorf("connect to the container's init: %w", err)
}

func (c *Client) greet(ctx context.Context, decoder *json.Decoder) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	var r reply
	if err := decoder.Decode(&r); err != nil {
		return fmt.Errorf("%w: it did not say hello: %w", ErrLost, err)
	}
	if r.Hello == nil || r.Hello.Version < OldestVersion || r.Hello.Version > Version {
		return fmt.Errorf("the container's init speaks a version that this wardend does not know (%d to %d)", OldestVersion, Version)
	}
	c.pid = r.Hello.PID
	return c.conn.SetReadDeadline(time.Time{})
}

// lastWords is the end of an init's log, for an error.
func lastWords(dir string) string {
	const most = 500
	raw, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil || len(raw) == 0 {
		return ""
	}
	return "; its log: " + strings.TrimSpace(string(raw[max(0, len(raw)-most):]))
}

// Lost says whether the connection to the init has ended.
func (c *Client) Lost() bool {
	select {
	case <-c.lost:
		return true
	default:
		return false
	}
}

// PID is the init's process.
func (c *Client) PID() int { return c.pid }

func (c *Client) receive(decoder *json.Decoder) {
	var err error
	for {
		var r reply
		if err = decoder.Decode(&r); err != nil {
			break
		}
		switch {
		case r.ID != 0:
			c.mu.Lock()
			answer := c.pending[r.ID]
			delete(c.pending, r.ID)
			c.mu.Unlock()
			if answer != nil {
				answer <- r
			}
		case r.Ended != nil && c.events.Ended != nil:
			c.events.Ended(*r.Ended)
		case r.Output != 0 && c.events.Output != nil:
			c.events.Output(r.Output)
		}
	}
	c.mu.Lock()
	closing := c.closing
	c.mu.Unlock()
	close(c.lost)
	_ = c.conn.Close()
	if !closing && c.events.Lost != nil {
		c.events.Lost(fmt.Errorf("%w: %w", ErrLost, err))
	}
}

func (c *Client) ask(ctx context.Context, req request) (reply, error) {
	answer := make(chan reply, 1)
	c.mu.Lock()
	c.next++
	req.ID = c.next
	c.pending[req.ID] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, req.ID)
		c.mu.Unlock()
	}()
	if err := c.write(req); err != nil {
		return reply{}, err
	}
	select {
	case r := <-answer:
		return r, asError(r)
	case <-ctx.Done():
		return reply{}, ctx.Err()
	case <-c.lost:
	}
	// The last answer may have come right before the end.
	select {
	case r := <-answer:
		return r, asError(r)
	default:
		return reply{}, ErrLost
	}
}

func asError(r reply) error {
	if r.Error != "" {
		return errors.New(r.Error)
	}
	return nil
}

func (c *Client) write(req request) error {
	raw, err := json.Marshal(req)
	if err != nil {
		return err
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if _, err := c.conn.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return nil
}

// Spawn starts a job. Lowered names the rlimits that could not be set as high as they were asked for.
func (c *Client) Spawn(ctx context.Context, spec *SpawnSpec) (lowered []string, err error) {
	r, err := c.ask(ctx, request{Op: opSpawn, Spawn: spec})
	return r.Lowered, err
}

// Jobs are those that run, and those that have ended and were not forgotten.
func (c *Client) Jobs(ctx context.Context) ([]JobStatus, error) {
	r, err := c.ask(ctx, request{Op: opJobs})
	return r.Jobs, err
}

// Stop ends all processes of the container: TERM, and after the grace KILL; or KILL at once. It returns when none is
// left. The init goes on with it when ctx ends or the connection is lost.
func (c *Client) Stop(ctx context.Context, kill bool, grace time.Duration) error {
	_, err := c.ask(ctx, request{Op: opStop, Stop: &stopSpec{Kill: kill, Grace: grace}})
	return err
}

// Watch turns the Output event of a job on. Output that is there already causes none.
func (c *Client) Watch(ctx context.Context, job uint32) error {
	_, err := c.ask(ctx, request{Op: opWatch, Job: job})
	return err
}

// Unwatch turns the Output event of a job off again. It does not wait for an answer.
func (c *Client) Unwatch(job uint32) { _ = c.write(request{Op: opUnwatch, Job: job}) }

// Forget drops a job that has ended, with its output. It does not wait for an answer. It fails with ErrLost when there
// is nobody to do it.
func (c *Client) Forget(job uint32) error { return c.write(request{Op: opForget, Job: job}) }

// Forward has the init listen on an address and pass TCP connections on, for as long as it lives.
func (c *Client) Forward(ctx context.Context, spec ForwardSpec) error {
	_, err := c.ask(ctx, request{Op: opForward, Forward: &spec})
	return err
}

// Shutdown ends all processes of the container with KILL, and then the init.
func (c *Client) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	if _, err := c.ask(ctx, request{Op: opShutdown}); err != nil {
		return err
	}
	select {
	case <-c.lost:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close lets go of the init, which goes on.
func (c *Client) Close() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	_ = c.conn.Close()
	<-c.lost
}
