package oci

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/initproc"
	"github.com/durable-dea/dea/wardend/internal/layers"
)

// Open finds a container again. One whose init is gone, as all are after the machine has started anew, can still be
// looked at and copied from.
func (b *Backend) Open(ctx context.Context, spec backend.Spec, events backend.Events) (backend.Container, error) {
	rec, err := readRecord(spec.Dir)
	if err != nil {
		// It was not even begun, or somebody has been at it: nothing in it can be used.
		return b.container(spec, &record{Network: spec.Network}), fmt.Errorf("%w: %w", initproc.ErrLost, err)
	}
	c := b.container(spec, rec)
	var noGroup error
	c.group, noGroup = b.cgroups.Open(c.id)
	if !alive(rec) {
		if err := c.reopenRoot(ctx, spec); err != nil {
			return c, fmt.Errorf("%w: %w", initproc.ErrLost, err)
		}
		return c, initproc.ErrLost
	}
	if noGroup != nil {
		return c, fmt.Errorf("%w: %w", initproc.ErrLost, noGroup)
	}
	// Its own mount namespace has its root, whether this one has it too or is a new one. A second overlay over the same
	// directory would spoil both.
	c.thaw()
	if err := c.connect(ctx, events.Events); err != nil {
		return c, err
	}
	if err := b.network.Attach(ctx, rec.Network, rec.PID); err != nil {
		b.warn("the container's network cannot be connected again", c.id, err)
	}
	// Kills are counted without that; they are noticed later.
	b.warn("want of memory is noticed only when a job ends", c.id, c.watch(events))
	return c, nil
}

// reopenRoot mounts what a new start of the machine has unmounted. Nobody may be using it.
func (c *container) reopenRoot(ctx context.Context, spec backend.Spec) error {
	writable, err := c.b.scratch.Open(ctx, c.id)
	if err != nil {
		return fmt.Errorf("what the container wrote: %w", err)
	}
	mounted, err := layers.Mounted(rootOf(c.dir))
	if err != nil || mounted {
		return err
	}
	return c.mount(ctx, spec, writable, true)
}

// Remove ends a container and frees all that it has, as far as there is any of it.
func (b *Backend) Remove(ctx context.Context, spec backend.Spec) error {
	id := filepath.Base(spec.Dir)
	network := spec.Network
	rec, err := readRecord(spec.Dir)
	if err == nil {
		network = rec.Network
		if err := killInit(ctx, rec); err != nil {
			return err
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if !network.IsValid() {
			return nil
		}
		return b.network.Detach(groupCtx, network)
	})
	group.Go(func() error {
		// Before the runtime forgets it: it may have a process that no record names yet.
		if err := b.runtime.Delete(groupCtx, id); err != nil {
			return err
		}
		return b.unmount(spec.Dir)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := errors.Join(b.removeCgroups(ctx, id), b.scratch.Remove(ctx, id)); err != nil {
		return err
	}
	return removeOwn(spec.Dir)
}

// busyTimeout is how long a container's cgroups may be busy once its processes are gone.
const busyTimeout = 5 * time.Second

// removeCgroups bounds the wait for what somebody has put into a container's cgroup: whoever destroys it, and a wardend
// that starts, must be told instead of waiting with it.
func (b *Backend) removeCgroups(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	return b.cgroups.Remove(ctx, id)
}

// unmount frees the container's root. It must be gone for certain before anything beneath the container's directory is
// removed: bind mounts lead to what is not the container's.
func (b *Backend) unmount(dir string) error {
	root := rootOf(dir)
	if err := layers.Unmount(root); err != nil {
		return err
	}
	mounted, err := layers.Mounted(root)
	if err != nil {
		return err
	}
	if mounted {
		return errors.New("the container's root is still mounted")
	}
	return nil
}
