package container

import (
	"context"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// CopyIn copies from the host into a container.
func (r *Registry) CopyIn(ctx context.Context, req *wardenpb.CopyInRequest) (*wardenpb.CopyInResponse, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, err
	}
	// A copy may take long: it does not keep the container from being stopped.
	if err := c.needActive(func() error { return nil }); err != nil {
		return nil, err
	}
	err = c.whileThere(ctx, func(ctx context.Context) error {
		return c.b.CopyIn(ctx, req.GetSrcPath(), req.GetDstPath())
	})
	if err != nil {
		return nil, copyError(err)
	}
	return &wardenpb.CopyInResponse{}, nil
}

// CopyOut copies from a container to the host.
func (r *Registry) CopyOut(ctx context.Context, req *wardenpb.CopyOutRequest) (*wardenpb.CopyOutResponse, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, err
	}
	err = c.whileThere(ctx, func(ctx context.Context) error {
		return c.b.CopyOut(ctx, req.GetSrcPath(), req.GetDstPath(), req.GetOwner())
	})
	if err != nil {
		return nil, copyError(err)
	}
	return &wardenpb.CopyOutResponse{}, nil
}

// whileThere calls f with a context that ends when the container is being destroyed, which waits for f: what is still
// written to cannot be removed, and a new container of the same handle lies at the same place.
func (c *Container) whileThere(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return c.enter(func() error {
		c.r.work.Go(func() {
			select {
			case <-c.gone:
				cancel()
			case <-ctx.Done():
			}
		})
		return f(ctx)
	})
}
