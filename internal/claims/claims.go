// Package claims lets one piece of work at a time have a thing of the node's, and lets whoever takes the thing away
// end that work first.
//
// Temporal may run two attempts of an activity at once, and tells an activity of its cancellation only with a
// heartbeat's answer. Within one worker, and a node has only one, it can be known at once:
//
//	Begin(key)  -- work with a context --  end
//	   |  ends earlier work on the key, waits for it; gives up when a later attempt has it
//	Retire(key, run)
//	      ends the work, waits for it, and refuses any that still comes from the same run
package claims

import (
	"context"
	"errors"
	"sync"
)

// Work says whose work on a key is. A later attempt of one activity of one run goes before an earlier one; between
// others the one that comes last does.
type Work struct {
	// Run is the workflow run, Activity the id of the activity in it.
	Run, Activity string
	// Attempt counts from 1.
	Attempt int32
}

// ErrReplaced is the cause of the end of a context whose key somebody newer has claimed, and the error of Begin for an
// attempt that is no longer the last.
var ErrReplaced = errors.New("a newer attempt has taken over")

// ErrRetired is the cause of the end of a context whose key was retired, and the error of Begin after that.
var ErrRetired = errors.New("it was taken away")

// maxRetired bounds how many retirements are remembered. The oldest is forgotten first.
const maxRetired = 10_000

// Claims is a set of claimed keys. The zero value is ready; it is safe for concurrent use.
type Claims struct {
	mu      sync.Mutex
	holders map[string]*holder
	retired map[retirement]struct{}
	order   []retirement
}

type holder struct {
	work   Work
	cancel context.CancelCauseFunc
	done   chan struct{}
}

type retirement struct{ key, run string }

// Begin claims a key. Earlier work on it is told to end and waited for. The context ends with the claim; end must be
// called when the work is over. It fails with ErrRetired, with ErrReplaced, or with ctx's error when that ends first.
func (c *Claims) Begin(ctx context.Context, key string, work Work) (claimed context.Context, end func(), err error) {
	claimed, cancel := context.WithCancelCause(ctx)
	mine := &holder{work: work, cancel: cancel, done: make(chan struct{})}
	for {
		earlier, err := c.claim(key, mine)
		if err != nil {
			cancel(err)
			return nil, nil, err
		}
		if earlier == nil {
			return claimed, func() { c.release(key, mine) }, nil
		}
		earlier.cancel(ErrReplaced)
		select {
		case <-earlier.done:
		case <-ctx.Done():
			cancel(ctx.Err())
			return nil, nil, ctx.Err()
		}
	}
}

func (c *Claims) claim(key string, mine *holder) (earlier *holder, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, retired := c.retired[retirement{key, mine.work.Run}]; retired {
		return nil, ErrRetired
	}
	if earlier := c.holders[key]; earlier != nil {
		if earlier.work.after(mine.work) {
			return nil, ErrReplaced
		}
		return earlier, nil
	}
	if c.holders == nil {
		c.holders = map[string]*holder{}
	}
	c.holders[key] = mine
	return nil, nil
}

// after tells whether w is a later attempt of the same activity.
func (w Work) after(other Work) bool {
	return w.Run == other.Run && w.Activity == other.Activity && w.Attempt > other.Attempt
}

func (c *Claims) release(key string, mine *holder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.holders, key)
	mine.cancel(nil)
	close(mine.done)
}

// Retire ends the work on a key, waits until it is over, and refuses work of the same run on it from now on. It
// fails only when ctx ends first.
func (c *Claims) Retire(ctx context.Context, key, run string) error {
	c.remember(retirement{key, run})
	for {
		c.mu.Lock()
		current := c.holders[key]
		c.mu.Unlock()
		if current == nil {
			return nil
		}
		current.cancel(ErrRetired)
		select {
		case <-current.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Claims) remember(r retirement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired == nil {
		c.retired = map[retirement]struct{}{}
	}
	if _, known := c.retired[r]; known {
		return
	}
	c.retired[r] = struct{}{}
	c.order = append(c.order, r)
	if len(c.order) > maxRetired {
		delete(c.retired, c.order[0])
		c.order = c.order[1:]
	}
}
