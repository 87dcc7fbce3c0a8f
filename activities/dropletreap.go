package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/internal/safename"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// Reap removes the droplets that no instance of the node uses and that are not to be kept. It asks nobody: who uses a
// droplet is noted on the node. What fails is for the next time.
func (d *Droplets) Reap(ctx context.Context) {
	reaped, err := d.cache.Reap(ctx, d.keep)
	if len(reaped) > 0 {
		d.log.Info("removed droplets that nobody uses", "sha1", reaped)
	}
	if err != nil && ctx.Err() == nil {
		d.log.Warn("unused droplets cannot be removed", "error", err)
	}
}

// Relieve removes droplets that no instance uses, the least recently used first, while the node's disk is fuller than it may
// be. It comes before any crash is removed for that reason: a droplet can be fetched again, and what is kept of a crash is
// there but once. What fails is for the next time.
func (d *Droplets) Relieve(ctx context.Context) {
	reaped, err := d.cache.MakeRoom(ctx, d.disk.Exceeded)
	if len(reaped) > 0 {
		d.log.Warn("the node's disk is fuller than it may be, removed droplets that nobody uses", "sha1", reaped)
	}
	if err != nil && ctx.Err() == nil {
		d.log.Warn("unused droplets cannot be removed", "error", err)
	}
}

// makeRoom removes every droplet that no instance uses, when err says that the node's disk is full: what failed is tried
// again, and another droplet that might be of use some day is worth less than the one that is wanted now.
func (d *Droplets) makeRoom(ctx context.Context, err error) {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return
	}
	reaped, reapErr := d.cache.Reap(ctx, droplets.Keep{})
	d.log.Warn("the node's disk is full, removed the droplets that nobody uses", "sha1", reaped, "error", reapErr)
}

// Uses are the instances that use droplets now. They come before the ledger that Forget is given: an instance is booked
// before it uses anything, so one of these that is not in the ledger has left it.
func (d *Droplets) Uses() []droplets.Use {
	uses, err := d.cache.Uses()
	if err != nil {
		d.log.Warn("the uses of droplets cannot be read", "error", err)
	}
	return uses
}

// Forget ends the uses of instances that are neither in the node's ledger nor in Warden. Mostly Retire has ended them; these
// are those of instances that were lost with their workflow, or with a worker that died at the wrong moment. Its error is
// Warden's or the file system's.
func (d *Droplets) Forget(ctx context.Context, uses []droplets.Use, ledger api.NodeStatus) error {
	if len(uses) == 0 {
		return nil
	}
	there := map[string]bool{}
	for _, r := range ledger.Reservations {
		there[safename.Of(r.ID)] = true
	}
	var gone []droplets.Use
	for _, use := range uses {
		if !there[use.Instance] {
			gone = append(gone, use)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	list, err := d.warden.List(ctx, &wardenpb.ListRequest{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, handle := range list.GetHandles() {
		there[safename.Of(handle)] = true
	}
	return d.cache.Drop(slices.DeleteFunc(gone, func(u droplets.Use) bool { return there[u.Instance] })...)
}
