// Package share lets several callers wait for one piece of work.
package share

import (
	"context"
	"fmt"
	"sync"
)

// Group joins callers that ask for the same key onto one run of the work. The zero value is ready. It differs from a
// plain singleflight in what a cancellation does: a caller whose context ends leaves alone, and the work goes on for
// the others; only when the last one has left is the work's own context cancelled.
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
// context given to work carries none of the values of any caller's, since it outlives the caller that began it.
func (g *Group[K, V]) Do(ctx context.Context, key K, work func(context.Context) (V, error)) (V, error) {
	c := g.join(key, work)
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
	}
	g.leave(key, c)
	var none V
	return none, ctx.Err()
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

func (g *Group[K, V]) join(key K, work func(context.Context) (V, error)) *call[V] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.calls[key]; c != nil {
		c.waiters++
		return c
	}
	if g.calls == nil {
		g.calls = make(map[K]*call[V])
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &call[V]{waiters: 1, cancel: cancel, done: make(chan struct{})}
	g.calls[key] = c
	go g.run(ctx, key, c, work)
	return c
}

func (g *Group[K, V]) run(ctx context.Context, key K, c *call[V], work func(context.Context) (V, error)) {
	defer func() {
		// A panic in work would end the process from a goroutine that no caller guards.
		if reason := recover(); reason != nil {
			c.err = fmt.Errorf("shared work panicked: %v", reason)
		}
		g.forget(key, c)
		c.cancel()
		close(c.done)
	}()
	c.value, c.err = work(ctx)
}

// leave takes one caller away. Work that nobody waits for is forgotten at once, so that the next caller begins anew
// and is not handed its cancellation.
func (g *Group[K, V]) leave(key K, c *call[V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.waiters--
	if c.waiters > 0 {
		return
	}
	c.cancel()
	if g.calls[key] == c {
		delete(g.calls, key)
	}
}

func (g *Group[K, V]) forget(key K, c *call[V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[key] == c {
		delete(g.calls, key)
	}
}
