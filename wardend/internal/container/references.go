package container

import "time"

// References are the containers that a connection refers to: all that were there when it was made, and each that it
// created or named since. A container's grace time begins when the last connection that refers to it is closed.
type References struct {
	r    *Registry
	held map[*Container]bool
}

// Connect makes the references of a new connection.
func (r *Registry) Connect() *References {
	refs := &References{r: r, held: map[*Container]bool{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.references[refs] = true
	for _, c := range r.containers {
		refs.addLocked(c)
	}
	return refs
}

// Name adds the container with the handle, if there is one.
func (refs *References) Name(handle string) {
	refs.r.mu.Lock()
	defer refs.r.mu.Unlock()
	if c := refs.r.containers[handle]; c != nil {
		refs.addLocked(c)
	}
}

// addLocked needs the registry's lock. Nil references are none.
func (refs *References) addLocked(c *Container) {
	if refs == nil || refs.held[c] {
		return
	}
	refs.held[c] = true
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refs++
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// Close ends the references with their connection.
func (refs *References) Close() {
	refs.r.mu.Lock()
	defer refs.r.mu.Unlock()
	for c := range refs.held {
		c.mu.Lock()
		c.refs--
		c.startTimer()
		c.mu.Unlock()
	}
	refs.held = nil
	delete(refs.r.references, refs)
}

// forgetLocked drops a container that is gone from all references. It needs the registry's lock.
func (r *Registry) forgetLocked(c *Container) {
	for refs := range r.references {
		delete(refs.held, c)
	}
}

// startTimer begins the grace time if no connection refers to the container. It needs the container's lock.
func (c *Container) startTimer() {
	if c.refs > 0 || c.timer != nil || c.isGone() || c.r.ctx.Err() != nil {
		return
	}
	c.rounds++
	round := c.rounds
	c.timer = time.AfterFunc(time.Duration(c.grace)*time.Second, func() { c.r.expire(c, round) })
}

func (c *Container) stopTimer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// expire destroys a container whose grace time is over, unless somebody refers to it again.
func (r *Registry) expire(c *Container, round int) {
	r.mu.Lock()
	c.mu.Lock()
	over := c.timer != nil && c.rounds == round && c.refs == 0 && r.ctx.Err() == nil
	if over {
		r.work.Add(1)
	}
	c.mu.Unlock()
	r.mu.Unlock()
	if !over {
		return
	}
	defer r.work.Done()
	r.opts.Log.Info("grace time is over", "handle", c.handle)
	_ = r.destroy(r.ctx, c, firstRetry) // it says itself what is wrong
}
