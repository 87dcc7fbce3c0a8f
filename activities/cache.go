package activities

import (
	"context"
	"time"
)

// cachePatience is how long a staging that has all else waits for its buildpack cache to come or to go. What is not
// there by then is done without: a cache makes the next staging quicker, and must not make this one slow.
const cachePatience = time.Minute

// cacheTransfer is a transfer of a buildpack cache, beside whatever else is transferred.
type cacheTransfer struct {
	stop context.CancelFunc
	size chan int64
}

// beside begins a transfer that gives the bytes that were moved, 0 for none. One of end and await must follow.
func beside(ctx context.Context, move func(context.Context) int64) *cacheTransfer {
	ctx, stop := context.WithCancel(ctx)
	c := &cacheTransfer{stop: stop, size: make(chan int64, 1)}
	go func() { c.size <- move(ctx) }()
	return c
}

// end gives the transfer up.
func (c *cacheTransfer) end() {
	c.stop()
	<-c.size
}

// await gives the transfer cachePatience more.
func (c *cacheTransfer) await() int64 {
	timer := time.AfterFunc(cachePatience, c.stop)
	defer timer.Stop()
	defer c.stop()
	return <-c.size
}
