package container

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
)

// Back-off of a destroy that failed.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// Destroy ends a container and frees all that it has. It is carried through even if ctx ends meanwhile. What cannot be
// freed stays listed, stopped, says why among its events, and is tried again until it is gone.
func (r *Registry) Destroy(ctx context.Context, req *wardenpb.DestroyRequest) (*wardenpb.DestroyResponse, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, err
	}
	if err := r.destroy(context.WithoutCancel(ctx), c, firstRetry); err != nil {
		return nil, err
	}
	return &wardenpb.DestroyResponse{}, nil
}

func (r *Registry) destroy(ctx context.Context, c *Container, retry time.Duration) error {
	if !c.beginDestroy(ctx) {
		return unknownHandle()
	}
	// Requests that wait for the init wait no longer; what the others still make must not be made after the removal.
	c.closeBackend()
	c.inside.Wait()
	err := r.discard(ctx, c.spec)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(c)
	if err == nil {
		delete(r.containers, c.handle)
		c.release()
		r.opts.Log.Info("destroyed container", "handle", c.handle)
		return nil
	}
	r.opts.Log.Error("container cannot be destroyed", "handle", c.handle, "retry_in", retry, "error", err)
	r.containers[c.handle] = r.remains(c, c.b, err)
	r.retryDestroy(r.containers[c.handle], retry)
	return err
}

// keep lists a container that was never listed and cannot be freed, and goes on trying.
func (r *Registry) keep(ctx context.Context, c *Container, cause error) error {
	b, err := r.backend.Open(ctx, c.spec, backend.Events{})
	if b == nil {
		return err
	}
	b.Close()
	r.opts.Log.Error("container cannot be destroyed", "handle", c.handle, "retry_in", firstRetry, "error", cause)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[c.handle] = r.remains(c, b, cause)
	r.retryDestroy(r.containers[c.handle], firstRetry)
	return nil
}

// beginDestroy says whether the caller is the first to destroy the container. Those that wait in it get their answer
// now.
func (c *Container) beginDestroy(ctx context.Context) bool {
	info := c.infoOrLast(ctx, nil)
	c.mu.Lock()
	if c.isGone() {
		c.mu.Unlock()
		return false
	}
	c.lastInfo = info
	c.phase = phaseDestroying
	close(c.gone)
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	if err := c.saveLast(); err != nil {
		// The next server would find it as it was, and destroy it when its grace time is over.
		c.log.Warn("destroying a container that could not be marked", "error", err)
	}
	return true
}

func (c *Container) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.ports {
		if p.Pooled {
			c.r.opts.Ports.Release(p.Host)
		}
	}
	c.ports = nil
	c.r.opts.Networks.Release(c.spec.Network)
}

// remains is what takes the place of a container that could not be freed.
func (r *Registry) remains(c *Container, b backend.Container, cause error) *Container {
	c.mu.Lock()
	defer c.mu.Unlock()
	opened := make(chan struct{})
	close(opened)
	events := slices.Clone(c.events)
	if event := "container cannot be destroyed: " + cause.Error(); !slices.Contains(events, event) {
		events = append(events, event)
	}
	left := &Container{
		r: r, log: c.log, handle: c.handle, order: c.order, request: c.request, spec: c.spec, grace: c.grace, b: b, opened: opened,
		phase: phaseDestroying, state: StateStopped, limits: c.limits, ports: c.ports, netOut: c.netOut,
		events: events, jobs: map[uint32]*job{}, gone: make(chan struct{}), refs: c.refs,
	}
	_ = os.MkdirAll(c.spec.Dir, 0o755) //nolint:gosec // as in Create; where it fails, so does what follows
	return left
}

func (r *Registry) retryDestroy(c *Container, after time.Duration) {
	r.work.Go(func() {
		select {
		case <-r.ctx.Done():
		case <-c.gone:
		case <-time.After(after):
			_ = r.destroy(r.ctx, c, min(2*after, lastRetry)) // it says itself what is wrong
		}
	})
}
