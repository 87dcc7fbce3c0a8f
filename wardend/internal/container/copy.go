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
	if err := c.b.CopyIn(ctx, req.GetSrcPath(), req.GetDstPath()); err != nil {
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
	if err := c.b.CopyOut(ctx, req.GetSrcPath(), req.GetDstPath(), req.GetOwner()); err != nil {
		return nil, copyError(err)
	}
	return &wardenpb.CopyOutResponse{}, nil
}
