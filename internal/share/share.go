// Package share lets several callers wait for one piece of work.
package share

import (
	"context"
	"fmt"
	"sync"
)

// Group joins callers that ask for the same key onto one run of the work. The zero value is ready. It differs from a
// plain singleflight in what a cancellation does: a caller whose context ends leaves alone, and the work goes on for
// the others; only when the last one leaves is the work's own context cancelled. There are never two runs for one
// key at a time, and none goes on when all its callers have returned.
type Group[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*call[V]
}

type call[V any] struct {
	waiters int
	cancel  context.CancelFunc
	done    chan struct{}
	value   V
	err     error
}

// Do runs work for key, or joins the run that is under way, and waits for its result or for the end of ctx. The
// context given to work carries none of the values of any caller's, since it outlives the caller that began it; work
// must heed its end, for the last caller to leave waits for that.
func (g *Group[K, V]) Do(ctx context.Context, key K, work func(context.Context) (V, error)) (V, error) {
	var none V
	for {
		if err := ctx.Err(); err != nil {
			return none, err
		}
		c, joined := g.join(key, work)
		select {
		case <-c.done:
			if joined {
				return c.value, c.err
			}
			// It was given up by all others, and is over now.
			continue
		case <-ctx.Done():
		}
		if joined {
			g.leave(c)
		}
		return none, ctx.Err()
	}
}

// Waiting tells how many callers wait for key.
func (g *Group[K, V]) Waiting(key K) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.calls[key]; c != nil {
		return c.waiters
	}
	return 0
}

// join gives the run for key. A run that everybody has left is only to be waited for, not to be joined.
func (g *Group[K, V]) join(key K, work func(context.Context) (V, error)) (c *call[V], joined bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.calls[key]; c != nil {
		if c.waiters == 0 {
			return c, false
		}
		c.waiters++
		return c, true
	}
	if g.calls == nil {
		g.calls = make(map[K]*call[V])
	}
	ctx, cancel := context.WithCancel(context.Background())
	c = &call[V]{waiters: 1, cancel: cancel, done: make(chan struct{})}
	g.calls[key] = c
	go g.run(ctx, key, c, work)
	return c, true
}

func (g *Group[K, V]) run(ctx context.Context, key K, c *call[V], work func(context.Context) (V, error)) {
	defer func() {
		// A panic in work would end the process from a goroutine that no caller guards.
		if reason := recover(); reason != nil {
			c.err = fmt.Errorf("shared work panicked: %v", reason)
		}
		g.mu.Lock()
		delete(g.calls, key)
		g.mu.Unlock()
		c.cancel()
		close(c.done)
	}()
	c.value, c.err = work(ctx)
}

func (g *Group[K, V]) leave(c *call[V]) {
	g.mu.Lock()
	c.waiters--
	last := c.waiters == 0
	g.mu.Unlock()
	if last {
		c.cancel()
		<-c.done
	}
}
