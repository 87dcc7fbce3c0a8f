package container

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/pool"
)

// Create makes a container. Refs, if not nil, are of the connection that asks: it refers to the new container.
// It is carried through even if ctx ends meanwhile: a container is never half made.
func (r *Registry) Create(ctx context.Context, req *wardenpb.CreateRequest, refs *References) (*wardenpb.CreateResponse, error) {
	handle, err := r.reserve(req)
	if err != nil {
		return nil, err
	}
	c, err := r.create(context.WithoutCancel(ctx), handle, req)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.creating, handle)
	if err != nil {
		return nil, err
	}
	r.containers[handle] = c
	c.mu.Lock()
	c.startTimer()
	c.mu.Unlock()
	refs.addLocked(c)
	r.opts.Log.Info("created container", "handle", handle)
	return &wardenpb.CreateResponse{Handle: proto.String(handle)}, nil
}

// reserve takes the handle, so that of two creates of one handle at once one fails.
func (r *Registry) reserve(req *wardenpb.CreateRequest) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	handle := req.GetHandle()
	if req.Handle == nil {
		handle = r.newHandleLocked()
	}
	if r.containers[handle] != nil || r.creating[handle] {
		return "", refuse("container with handle: %s already exists.", handle)
	}
	r.creating[handle] = true
	return handle, nil
}

// newHandleLocked makes a handle of 11 characters: the time in microseconds, or one more than the last, in base 32.
func (r *Registry) newHandleLocked() string {
	const base = 32
	for {
		r.lastHandle = max(r.lastHandle+1, uint64(time.Now().UnixMicro())) //nolint:gosec // after 1970
		handle := strconv.FormatUint(r.lastHandle, base)
		if r.containers[handle] == nil && !r.creating[handle] {
			return handle
		}
	}
}

func (r *Registry) create(ctx context.Context, handle string, req *wardenpb.CreateRequest) (*Container, error) {
	r.mu.Lock()
	r.order++
	order := r.order
	r.mu.Unlock()
	c := r.newContainer(handle, req, order)
	if err := r.backend.Check(c.spec); err != nil {
		return nil, &Error{Message: err.Error()}
	}
	var err error
	if c.spec.Network, err = r.network(ctx, req.GetNetwork()); err != nil {
		return nil, err
	}
	if err := c.makeDir(); err != nil {
		r.opts.Networks.Release(c.spec.Network)
		return nil, err
	}
	if err := c.make(ctx); err != nil {
		return nil, r.giveUp(ctx, c, err)
	}
	return c, nil
}

// make has the backend make the container, and writes down before that it may be there, and after it that it is.
func (c *Container) make(ctx context.Context) error {
	if err := c.save(); err != nil {
		return err
	}
	b, err := c.r.backend.Create(ctx, c.spec, c.backendEvents())
	c.setBackend(b)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.phase = phaseReady
	c.mu.Unlock()
	return c.save()
}

// giveUp removes what there is of a container that could not be made, and answers why it could not. What cannot be
// freed is kept, as after a destroy that failed: nothing of it may be given to another container.
func (r *Registry) giveUp(ctx context.Context, c *Container, cause error) error {
	// What its init has still to say must not be written into the directory of the next one.
	c.saveMu.Lock()
	c.removing = true
	c.saveMu.Unlock()
	c.closeBackend()
	left := r.discard(ctx, c.spec)
	if left == nil {
		r.opts.Networks.Release(c.spec.Network)
		return cause
	}
	return errors.Join(cause, left, r.keep(ctx, c, left))
}

// makeDir makes the container's directory. One that is there is what an earlier container left that could not be
// removed, and whose handle nobody has; or a stray, which is refused.
func (c *Container) makeDir() error {
	err := os.Mkdir(c.spec.Dir, 0o755) //nolint:gosec // jobs of other users pass through
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	c.log.Warn("removing what was left of an earlier container", "dir", filepath.Base(c.spec.Dir))
	if err := c.r.discardUnrecorded(c.r.ctx, c.spec.Dir); err != nil {
		return err
	}
	return os.Mkdir(c.spec.Dir, 0o755) //nolint:gosec // as above
}

// network is the one that was asked for, or any if the backend needs one.
func (r *Registry) network(ctx context.Context, asked string) (netip.Prefix, error) {
	if asked != "" {
		return r.takeNetwork(asked)
	}
	if !r.backend.Networked() {
		return netip.Prefix{}, nil
	}
	network, err := r.opts.Networks.Acquire(ctx)
	if err != nil {
		return netip.Prefix{}, &Error{Message: "Could not acquire network: the pool is exhausted", Err: err}
	}
	return network, nil
}

func (r *Registry) takeNetwork(network string) (netip.Prefix, error) {
	address, err := netip.ParseAddr(network)
	if err == nil {
		network = netip.PrefixFrom(address, pool.NetworkBits).Masked().Addr().String() // as the original names it
		var taken netip.Prefix
		if taken, err = r.opts.Networks.Take(address); err == nil {
			return taken, nil
		}
	}
	return netip.Prefix{}, &Error{Message: "Could not acquire network: " + network, Err: err}
}
