package ociruntime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// Delete ends what runs of a container and has the runtime forget it. It is nil for one that is not known, and may be
// called again after any error. What the runtime failed to make or to remove, and does not know itself, is removed
// too. It does not wait for the container's cgroup to go: the runtime has tried to remove it.
func (r *Runtime) Delete(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	rec, begun, err := r.readRecord(id)
	if err != nil {
		return fmt.Errorf("delete container %s: %w", id, err)
	}
	if !begun && !exists(r.stateOf(id)) {
		return nil
	}
	if err := r.end(ctx, id, rec); err != nil {
		return fmt.Errorf("delete container %s: %w", id, err)
	}
	if err := r.forget(ctx, id); err != nil {
		return fmt.Errorf("delete container %s: %w", id, err)
	}
	if err := r.removeRecord(id); err != nil {
		return fmt.Errorf("delete container %s: %w", id, err)
	}
	return nil
}

// stateOf is where crun and runc keep a container's state.
func (r *Runtime) stateOf(id string) string { return filepath.Join(r.root(), id) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// end kills process 1, with which all processes of its pid namespace end, and waits for it. A runtime's own way is
// slower: runc polls ten times a second.
func (r *Runtime) end(ctx context.Context, id string, rec record) error {
	boot, err := proctree.BootID()
	if err != nil {
		return err
	}
	switch {
	case rec.Boot != "" && rec.Boot != boot:
		// Nothing has outlived the machine; the runtime would look for the old pid among the new processes.
		return os.RemoveAll(r.stateOf(id))
	case rec.PID != 0:
		return proctree.End(ctx, rec.PID, func(p proctree.Stat) bool { return p.Start == rec.Start })
	}
	// Begun, and whoever did it gave up or was killed before the pid was known.
	if err := r.settle(ctx, id); err != nil {
		return err
	}
	before, err := ticks()
	if err != nil {
		return err
	}
	if pid := r.statePID(ctx, id); pid != 0 {
		if err := proctree.End(ctx, pid, func(p proctree.Stat) bool { return p.Start <= before }); err != nil {
			return err
		}
	}
	// A runtime that was killed may not have come to write down what it had started.
	return endCgroup(ctx, rec.Cgroup)
}

// statePID asks the runtime for process 1. 0: it has none, or does not know the container.
func (r *Runtime) statePID(ctx context.Context, id string) int {
	out, err := r.command(ctx, call{args: []string{"state", id}})
	var state struct {
		PID    int    `json:"pid"`
		Status string `json:"status"`
	}
	if err != nil || json.Unmarshal(out, &state) != nil || state.Status == "stopped" || state.PID <= 1 {
		return 0
	}
	return state.PID
}

// forget has the runtime forget a container without processes.
func (r *Runtime) forget(ctx context.Context, id string) error {
	_, err := r.command(ctx, call{args: []string{"delete", "--force", id}})
	if err == nil && !exists(r.stateOf(id)) {
		return nil
	}
	if err == nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		if _, unknown := r.command(ctx, call{args: []string{"state", id}}); unknown == nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(r.stateOf(id)), ctx.Err())
}

// ticks is the time since the boot as processes' start times have it.
func ticks() (uint64, error) {
	const perSecond = 100 // USER_HZ, on every architecture that Go has
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return uint64(now.Nano()) / uint64(time.Second/perSecond), nil //nolint:gosec // since the boot
}
