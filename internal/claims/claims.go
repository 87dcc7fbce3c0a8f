// Package claims lets one piece of work at a time have a thing of the node's, and lets whoever takes the thing away
// end that work first.
//
// Temporal may run two attempts of an activity at once, and tells an activity of its cancellation only with a
// heartbeat's answer. Within one worker, and a node has only one, it can be known at once:
//
//	Begin(key)  -- work with a context --  end
//	   |  ends earlier work on the key, waits for it
//	Retire(key, run)
//	      ends the work, waits for it, and refuses any that still comes from the same run
package claims

import (
	"context"
	"errors"
	"sync"
)

// ErrReplaced is the cause of the end of a context whose key somebody newer has claimed.
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
	cancel context.CancelCauseFunc
	done   chan struct{}
}

type retirement struct{ key, run string }

// Begin claims a key for a piece of work of a run. Earlier work on the key is told to end and waited for. The
// context ends with the claim; end must be called when the work is over.
func (c *Claims) Begin(ctx context.Context, key, run string) (work context.Context, end func(), err error) {
	work, cancel := context.WithCancelCause(ctx)
	mine := &holder{cancel: cancel, done: make(chan struct{})}
	for {
		earlier, retired := c.claim(key, run, mine)
		if retired {
			cancel(ErrRetired)
			return nil, nil, ErrRetired
		}
		if earlier == nil {
			return work, func() { c.release(key, mine) }, nil
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

func (c *Claims) claim(key, run string, mine *holder) (earlier *holder, retired bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, retired := c.retired[retirement{key, run}]; retired {
		return nil, true
	}
	if earlier := c.holders[key]; earlier != nil {
		return earlier, false
	}
	if c.holders == nil {
		c.holders = map[string]*holder{}
	}
	c.holders[key] = mine
	return nil, false
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
