package container

import "slices"

// ranOutOfMemory says whether the kernel has ended a process of the container for want of memory.
func (c *Container) ranOutOfMemory() bool {
	select {
	case <-c.opened:
		return c.b != nil && !c.isGone() && c.b.OutOfMemory()
	default:
		return false // no job can have run
	}
}

// tellMemory sees to it that a job's end is not told without its cause: the kernel's notice may come a moment after
// the end itself.
func (c *Container) tellMemory() {
	if c.ranOutOfMemory() {
		c.outOfMemory()
	}
}

// outOfMemory stops a container that has run out of memory: what is left of it is not what its jobs think it is. Called
// again it does nothing.
func (c *Container) outOfMemory() {
	c.mu.Lock()
	known := c.isGone() || slices.Contains(c.events, eventMemory)
	if !known {
		c.events = append(c.events, eventMemory)
		c.state = StateStopped
	}
	c.mu.Unlock()
	if known {
		return
	}
	c.log.Warn("the container is out of memory: it is stopped")
	c.r.work.Go(func() {
		c.setStopped() // waits for what was begun while the container was active
		if err := c.save(); err != nil && !c.isGone() {
			c.log.Error("state of the container is not kept", "error", err)
		}
		if err := c.endProcesses(true); err != nil && c.r.ctx.Err() == nil && !c.isGone() {
			c.log.Error("processes of the container may be left", "error", err)
		}
	})
}
