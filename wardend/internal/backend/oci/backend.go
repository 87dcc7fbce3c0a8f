package oci

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/cgroups"
	"github.com/durable-dea/dea/wardend/internal/layers"
	"github.com/durable-dea/dea/wardend/internal/network"
	"github.com/durable-dea/dea/wardend/internal/ociruntime"
	"github.com/durable-dea/dea/wardend/internal/scratch"
)

// Name of the backend.
const Name = "oci"

// Options are what a Backend needs.
type Options struct {
	// Depot is the directory of all that is kept, absolute.
	Depot string
	// Instance tells the wardends of one kernel apart: 1 to 8 of a-z and 0-9. Empty is the one that the depot has
	// already, or one made of its path.
	Instance string
	// Runtime is the OCI runtime's path or name; empty is the first of crun and runc that works.
	Runtime string
	// Pool is what Spec.Network is taken from.
	Pool netip.Prefix
	// PortStart and PortSize are the ports of the host that NetIn gives out; none when PortSize is 0.
	PortStart, PortSize uint32
	// Allow and Deny are what containers can reach outside; see package network.
	Allow, Deny []netip.Prefix
	// Scratch is a kind of package scratch, ScratchSize in bytes the size of the file that it may take.
	Scratch     string
	ScratchSize uint64
	// PidsLimit is how many processes and threads a container's jobs may have; 0 for no limit.
	PidsLimit uint64
	Log       hclog.Logger
}

// ErrUnusable: this machine or this user cannot have real containers. What it is joined with says why.
var ErrUnusable = errors.New("real containers cannot be made here")

// Backend makes containers by an OCI runtime.
type Backend struct {
	opts    Options
	init    string
	runtime *ociruntime.Runtime
	scratch scratch.Store
	network *network.Network
	cgroups *cgroups.Manager
	// name is held as long as this server lives.
	name *nameLock
	// private: the depot is a mount of its own.
	private bool
	// inodesOnce keeps what cannot be limited from being said again and again.
	inodesOnce sync.Once
}

const dirMode = 0o755

// Open finds out whether containers can be made, and takes over what an earlier server left on the kernel. The error is
// ErrUnusable when they cannot.
func Open(ctx context.Context, opts Options) (*Backend, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: wardend does not run as root", ErrUnusable)
	}
	if err := os.MkdirAll(opts.Depot, dirMode); err != nil { //nolint:gosec // containers' users pass through
		return nil, fmt.Errorf("depot: %w", err)
	}
	if err := checkPassable(opts.Depot); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	b := &Backend{opts: opts}
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	b.opts.Log.Info("containers are made by an OCI runtime", "runtime", b.runtime.String(), "name", b.opts.Instance,
		"cgroups", b.cgroups.Version(), "disk_limits", b.scratch.Name(), "pool", opts.Pool)
	return b, nil
}

func (b *Backend) open(ctx context.Context) error {
	former, err := b.opts.settle()
	if err != nil {
		return err
	}
	if b.name, err = lockName(ctx, namesDir, b.opts.Instance, b.opts.Depot); err != nil {
		return err
	}
	mine, err := b.opts.claim()
	if err != nil {
		return err
	}
	if err := b.name.claim(mine); err != nil {
		return err
	}
	// Where the machine's mounts are shared, containers' roots would show up in every service's.
	if err := layers.Private(b.opts.Depot); err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	b.private = true
	if b.init, err = installInit(filepath.Join(b.opts.Depot, "init")); err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	b.runtime, err = ociruntime.Find(ctx, ociruntime.Options{
		Path: b.opts.Runtime, StateDir: filepath.Join(b.opts.Depot, "runtime"), InitBinary: b.init, Log: b.opts.Log.Named("runtime"),
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	b.scratch, err = scratch.Open(ctx, scratch.Options{
		Dir: filepath.Join(b.opts.Depot, "scratch"), Kind: b.opts.Scratch, Size: b.opts.ScratchSize,
		Instance: b.opts.Instance, Log: b.opts.Log.Named("scratch"),
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	if former != nil {
		if err := b.free(ctx, former); err != nil {
			return err
		}
	}
	if err := b.openNamed(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	return b.opts.write()
}

// openNamed opens what has the server's name on the kernel.
func (b *Backend) openNamed(ctx context.Context) (err error) {
	if b.cgroups, err = cgroups.Open(ctx, b.opts.Instance, b.opts.Log.Named("cgroups")); err != nil {
		return err
	}
	b.network, err = network.Open(ctx, network.Options{
		Instance: b.opts.Instance, Pool: b.opts.Pool, Allow: b.opts.Allow, Deny: b.opts.Deny, Log: b.opts.Log.Named("network"),
	})
	return err
}

// free frees what the depot's last server left under a name or pool that is not to be used any more. There are no
// containers, but that server may have been killed.
func (b *Backend) free(ctx context.Context, former *depotRecord) (failed error) {
	old := &Backend{opts: b.opts, runtime: b.runtime, scratch: b.scratch}
	old.opts.Instance, old.opts.Pool = former.Instance, former.Pool
	if former.Instance != b.opts.Instance {
		name, err := lockName(ctx, namesDir, former.Instance, b.opts.Depot)
		if errors.Is(err, ErrNameInUse) {
			return nil // it is another depot's now, and so is all that has it
		}
		if err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, name.Close()) }()
	}
	err := old.openNamed(ctx)
	if err == nil {
		err = old.Sweep(ctx, nil)
	}
	old.scratch = nil // still in use
	if err := errors.Join(err, old.Close()); err != nil {
		return fmt.Errorf("free what the depot's last wardend had as %s: %w", former.Instance, err)
	}
	return nil
}

// checkPassable finds a directory above the depot that the users of containers cannot pass: their root lies beneath.
func checkPassable(dir string) error {
	const others = 0o001
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&others == 0 {
			return fmt.Errorf("the depot lies beneath %s, which containers' users cannot pass: chmod o+x %s, or choose another --depot", dir, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// Name is "oci".
func (*Backend) Name() string { return Name }

// Networked is true: each container has a /30.
func (*Backend) Networked() bool { return true }

// Close lets go of the kernel's side. When no container is left, nothing else is either.
func (b *Backend) Close() error {
	var errs []error
	if b.network != nil {
		if left, err := b.network.Networks(context.Background()); err == nil && len(left) == 0 {
			errs = append(errs, b.network.Remove(context.Background()))
		}
		errs = append(errs, b.network.Close())
	}
	if b.cgroups != nil {
		errs = append(errs, b.cgroups.Close())
	}
	if b.scratch != nil {
		errs = append(errs, b.scratch.Close())
	}
	if b.private && emptyDir(filepath.Join(b.opts.Depot, "containers")) {
		errs = append(errs, unmountOwn(b.opts.Depot))
	}
	if b.name != nil {
		errs = append(errs, b.name.Close())
	}
	return errors.Join(errs...)
}

// Sweep frees what belongs to none of the containers in the directories.
func (b *Backend) Sweep(ctx context.Context, dirs []string) error {
	known := map[string]bool{}
	networks := map[netip.Prefix]bool{}
	for _, dir := range dirs {
		known[filepath.Base(dir)] = true
		if rec, err := readRecord(dir); err == nil {
			networks[rec.Network] = true
		}
	}
	strays := map[string]bool{}
	for what, list := range map[string]func(context.Context) ([]string, error){
		"containers of the runtime": b.runtime.IDs,
		"scratch directories":       b.scratch.IDs,
		"cgroups":                   func(context.Context) ([]string, error) { return b.cgroups.IDs() },
	} {
		ids, err := list(ctx)
		if err != nil {
			return fmt.Errorf("list %s: %w", what, err)
		}
		for _, id := range ids {
			strays[id] = strays[id] || !known[id]
		}
	}
	for id, stray := range strays {
		if stray {
			b.opts.Log.Warn("removing what belongs to no container", "id", id)
			b.warn("it cannot be removed", id, b.removeStray(ctx, id))
		}
	}
	left, err := b.network.Networks(ctx)
	if err != nil {
		return fmt.Errorf("list networks: %w", err)
	}
	for _, n := range left {
		if !networks[n] {
			b.opts.Log.Warn("removing a network that belongs to no container", "network", n)
			b.warn("it cannot be removed", n.String(), b.network.Detach(ctx, n))
		}
	}
	return nil
}

// removeStray frees what there is of a container that has no directory. Nobody can tell which process is its init: all
// that is in its cgroups, which are this server's by their name, is ended.
func (b *Backend) removeStray(ctx context.Context, id string) error {
	if err := b.runtime.Delete(ctx, id); err != nil {
		return err
	}
	if err := b.cgroups.Kill(id); err != nil {
		return err
	}
	return errors.Join(b.removeCgroups(ctx, id), b.scratch.Remove(ctx, id))
}

func (b *Backend) warn(what, of string, err error) {
	if err != nil {
		b.opts.Log.Error(what, "of", of, "error", err)
	}
}

var _ backend.Backend = (*Backend)(nil)
