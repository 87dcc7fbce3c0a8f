package initproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// ErrLost: the init is gone, or its connection is.
var ErrLost = errors.New("the container's init is gone")

// ErrTooOld: the init is of a release that cannot do what it was to be asked for.
var ErrTooOld = errors.New("the container's init is of an older release")

// Events are told as they come, one after the other, from one goroutine: they must not block. Each may be nil.
type Events struct {
	// Ended: a job has ended. It may come before the Spawn of the job has returned.
	Ended func(JobStatus)
	// Output: a watched job has more output.
	Output func(job uint32)
	// Slow: the init has owed an answer for two seconds; again every two. It is told from whoever asks, and may take
	// its time. In a container it is the moment for Thaw.
	Slow func()
	// Lost: the connection has ended other than by Close or Shutdown. Nothing comes after it.
	Lost func(error)
}

// Client drives one init. It is safe for concurrent use.
//
// The init may have been taken over by the root of its container: what it says is bounded, and nothing is done on the
// machine because of it. A process id that it tells is one of the container's.
type Client struct {
	conn   net.Conn
	events Events
	pid    int
	// version is the protocol's that the init speaks.
	version int

	// writing holds a token while somebody writes.
	writing chan struct{}

	mu      sync.Mutex
	next    uint64
	pending map[uint64]chan reply
	closing bool
	// running are the jobs that this client has asked for or has been told of; strange counts the ends of others.
	running map[uint32]struct{}
	strange int
	lost    chan struct{}
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

// PID is the init's process in its own pid namespace: 1 in a container.
func (c *Client) PID() int { return c.pid }

// Version is the protocol's that the init speaks, from OldestVersion to Version.
func (c *Client) Version() int { return c.version }

func (c *Client) receive(in *messages) {
	var err error
	for {
		var r reply
		if err = in.next(&r); err != nil {
			break
		}
		switch {
		case r.ID != 0:
			c.answer(r)
		case r.Ended != nil:
			if c.expects(r.Ended.Job) && c.events.Ended != nil {
				c.events.Ended(*r.Ended)
			}
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

func (c *Client) answer(r reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := c.pending[r.ID]
	delete(c.pending, r.ID)
	for _, j := range r.Jobs[:min(len(r.Jobs), maxJobs)] {
		if !j.Ended {
			c.running[j.Job] = struct{}{}
		}
	}
	if answer != nil {
		answer <- r
	}
}

// expects says whether the end of a job is news: each job ends once. Jobs that nobody here knows may be another
// client's; an init that was taken over could make up any number of them.
func (c *Client) expects(job uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.running[job]
	delete(c.running, job)
	if !known {
		c.strange++
	}
	return known || c.strange <= maxJobs
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
	if err := c.write(ctx, req); err != nil {
		return reply{}, err
	}
	if err := c.await(ctx, answer); err != nil {
		return reply{}, err
	}
	// The last answer may have come right before the end.
	select {
	case r := <-answer:
		return r, asError(r)
	default:
		return reply{}, ErrLost
	}
}

// slowAfter is how long an init takes that may be stuck: longer than it takes to start any job.
const slowAfter = 2 * time.Second

// await waits until there is an answer, or will be none: nil then too.
func (c *Client) await(ctx context.Context, answer chan reply) error {
	slow := time.NewTicker(slowAfter)
	defer slow.Stop()
	for {
		select {
		case r := <-answer:
			answer <- r // there is room for it again
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-c.lost:
			return nil
		case <-slow.C:
			if c.events.Slow != nil {
				c.events.Slow()
			}
		}
	}
}

// maxWords bounds an error of an init's, in bytes.
const maxWords = 2 << 10

func asError(r reply) error {
	if r.Error == "" {
		return nil
	}
	return errors.New(printable(r.Error[:min(len(r.Error), maxWords)]))
}

// writeTimeout is how long an init may take to read what it is sent: one that reads nothing must not keep everybody
// waiting.
const writeTimeout = 30 * time.Second

func (c *Client) write(ctx context.Context, req request) error {
	raw, err := json.Marshal(req)
	if err != nil {
		return err
	}
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.lost:
		return ErrLost
	}
	defer func() { <-c.writing }()
	err = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = c.conn.Write(append(raw, '\n'))
	}
	if err != nil {
		// Half of a request may be written: nothing can come after that.
		_ = c.conn.Close()
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return nil
}

// Spawn starts a job. Lowered names the rlimits that could not be set as high as they were asked for. It fails with
// ErrTooOld when the init cannot run jobs as another user.
func (c *Client) Spawn(ctx context.Context, spec *SpawnSpec) (lowered []string, err error) {
	if spec.User != nil && c.version < userVersion {
		return nil, fmt.Errorf("%w: it runs jobs as no other user than itself", ErrTooOld)
	}
	c.mu.Lock()
	c.running[spec.Job] = struct{}{}
	c.mu.Unlock()
	r, err := c.ask(ctx, request{Op: opSpawn, Spawn: spec})
	if err != nil {
		c.mu.Lock()
		delete(c.running, spec.Job)
		c.mu.Unlock()
	}
	for _, limit := range spec.Rlimits {
		if slices.Contains(r.Lowered, limit.Name) {
			lowered = append(lowered, limit.Name)
		}
	}
	return lowered, err
}

// Jobs are those that run, and those that have ended and were not forgotten. An init keeps 20,000 of them; one that
// tells of more is not believed.
func (c *Client) Jobs(ctx context.Context) ([]JobStatus, error) {
	r, err := c.ask(ctx, request{Op: opJobs})
	if len(r.Jobs) > maxJobs && c.version >= userVersion {
		return nil, errTooManyJobs
	}
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
func (c *Client) Unwatch(job uint32) {
	_ = c.write(context.Background(), request{Op: opUnwatch, Job: job})
}

// Forget drops a job that has ended, with its output. It does not wait for an answer. It fails with ErrLost when there
// is nobody to do it.
func (c *Client) Forget(job uint32) error {
	return c.write(context.Background(), request{Op: opForget, Job: job})
}

// Forward has the init listen on an address and pass TCP connections on, for as long as it lives. An init that is
// process 1 of a container refuses: a container has a network of its own.
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
