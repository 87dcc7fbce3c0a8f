package scratch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// counts knows how many inodes directories have whose file system does not. Who asks waits at most patience, and then
// gets the last count, or of the first as far as it has come. Counting takes at most a twentieth of the time, one
// directory at a time: a large one makes neither an answer of the server nor the machine slow.
type counts struct {
	count  func(ctx context.Context, id string, counted func(uint64)) error
	ctx    context.Context //nolint:containedctx // ends with close
	cancel context.CancelFunc
	wait   sync.WaitGroup
	turn   chan struct{}

	mu   sync.Mutex
	byID map[string]*inodeCount
}

type inodeCount struct {
	// so far is what the running count has come to.
	soFar atomic.Uint64
	// done is closed when the running count ends; nil when none runs.
	done chan struct{}
	// The rest is of the last one.
	known bool
	last  uint64
	err   error
	until time.Time
}

const (
	patience   = 3 * time.Millisecond
	freshness  = time.Second
	costFactor = 20
)

// newCounts makes it with a function that counts in steps, and calls counted with the number after each.
func newCounts(count func(ctx context.Context, id string, counted func(uint64)) error) *counts {
	c := &counts{count: count, turn: make(chan struct{}, 1), byID: map[string]*inodeCount{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

func (c *counts) get(id string) (uint64, error) {
	c.mu.Lock()
	entry := c.byID[id]
	if entry == nil {
		entry = &inodeCount{}
		c.byID[id] = entry
	}
	if entry.done == nil && !time.Now().Before(entry.until) && c.ctx.Err() == nil {
		entry.soFar.Store(0)
		entry.done = make(chan struct{})
		c.wait.Add(1)
		go c.run(id, entry)
	}
	done := entry.done
	c.mu.Unlock()
	if done != nil {
		select {
		case <-done:
		case <-time.After(patience):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !entry.known && entry.err == nil {
		return entry.soFar.Load(), nil
	}
	return entry.last, entry.err
}

func (c *counts) run(id string, entry *inodeCount) {
	defer c.wait.Done()
	start := time.Now()
	var err error
	select {
	case <-c.ctx.Done():
		err = c.ctx.Err()
	case c.turn <- struct{}{}:
		start = time.Now()
		err = c.count(c.ctx, id, func(n uint64) { entry.soFar.Add(n) })
		<-c.turn
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.Is(err, context.Canceled) {
		entry.err = err
	}
	if err == nil {
		entry.known, entry.last = true, entry.soFar.Load()
	}
	entry.until = time.Now().Add(max(freshness, costFactor*time.Since(start)))
	close(entry.done)
	entry.done = nil
}

// forget forgets a directory that is being removed.
func (c *counts) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byID, id)
}

// close ends all counting.
func (c *counts) close() {
	c.cancel()
	c.wait.Wait()
}
