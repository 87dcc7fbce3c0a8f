package execwire

import "sync"

// Credit counts how much input may still be sent. It is safe for concurrent use.
type Credit struct {
	mu   sync.Mutex
	more *sync.Cond
	left int
	over bool
}

// NewCredit allows Window bytes.
func NewCredit() *Credit {
	c := &Credit{left: Window}
	c.more = sync.NewCond(&c.mu)
	return c
}

// Take waits until it may give some bytes, most at the most; 0 once it is closed.
func (c *Credit) Take(most int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.left == 0 && !c.over {
		c.more.Wait()
	}
	if c.over {
		return 0
	}
	n := min(most, c.left)
	c.left -= n
	return n
}

// Give allows more again, Window in all at most.
func (c *Credit) Give(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = min(c.left+n, Window)
	c.more.Broadcast()
}

// Close ends all waiting.
func (c *Credit) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.more.Broadcast()
}
