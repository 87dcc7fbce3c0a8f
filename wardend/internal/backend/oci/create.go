package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/initproc"
	"github.com/durable-dea/dea/wardend/internal/layers"
	"github.com/durable-dea/dea/wardend/internal/ociruntime"
	"github.com/durable-dea/dea/wardend/internal/rootfs"
)

// initPath is where a container has its init.
const initPath = "/.wardend-init"

// Users of a container.
const (
	vcapName = "vcap"
	rootName = "root"
)

// Check refuses a rootfs that cannot be one and a mount whose source is missing.
func (b *Backend) Check(spec backend.Spec) error {
	if spec.Rootfs == "" {
		return errors.New("no rootfs: name one in the request, or start wardend with --rootfs")
	}
	list, err := layers.Parse(spec.Rootfs)
	if err != nil {
		return err
	}
	if _, err := rootfs.Users(list, vcapName, rootName); err != nil {
		return err
	}
	for _, m := range spec.Mounts {
		if _, err := os.Stat(m.Source); err != nil {
			return fmt.Errorf("Source path for bind mount does not exist: %s", m.Source) //nolint:staticcheck // the protocol's words
		}
	}
	return nil
}

// Create makes a container. Whatever it had made when it failed is found by Remove.
func (b *Backend) Create(ctx context.Context, spec backend.Spec, events backend.Events) (backend.Container, error) {
	c, err := b.plan(spec)
	if err == nil {
		err = c.build(ctx, spec)
	}
	if err == nil {
		err = c.start(ctx, spec.Handle, events)
	}
	if err == nil {
		return c, nil
	}
	if c != nil {
		c.Close()
	}
	return nil, err
}

// plan decides what the container will be, and writes it down before anything is made.
func (b *Backend) plan(spec backend.Spec) (*container, error) {
	list, err := layers.Parse(spec.Rootfs)
	if err != nil {
		return nil, err
	}
	users, err := rootfs.Users(list, vcapName, rootName)
	if err != nil {
		return nil, err
	}
	rec := &record{
		Version: recordVersion, Network: spec.Network, IDs: idsOf(spec.Network),
		Vcap: userOf(users[0]), Root: userOf(users[1]),
	}
	c := b.container(spec, rec)
	return c, c.save()
}

func userOf(u rootfs.User) user { return user{UID: u.UID, GID: u.GID, Groups: u.Groups, Home: u.Home} }

func (c *container) save() error {
	if err := writeRecord(filepath.Join(c.dir, recordName), c.rec); err != nil {
		return fmt.Errorf("write container down: %w", err)
	}
	return nil
}

// build makes the container's root and its cgroup.
func (c *container) build(ctx context.Context, spec backend.Spec) error {
	writable, err := c.b.scratch.Make(ctx, c.id)
	if err != nil {
		return fmt.Errorf("make room to write: %w", err)
	}
	if err := c.mount(ctx, spec, writable, false); err != nil {
		return err
	}
	if c.group, err = c.b.cgroups.Create(c.id); err != nil {
		return err
	}
	// On cgroup v2 the init must own what it puts jobs into.
	if err := c.group.Delegate(c.rec.IDs.Host, c.rec.IDs.Host); err != nil {
		return err
	}
	if c.b.opts.PidsLimit > 0 {
		if err := c.group.SetPids(c.b.opts.PidsLimit); err != nil {
			return err
		}
	}
	limits := backend.NoLimits() // as everything is made
	c.limits = &limits
	return nil
}

// mount puts the root together, again where it was before. What the container has of its own is written before there
// are bind mounts: one of them may lie where it is written, and what is in them is not the container's.
func (c *container) mount(ctx context.Context, spec backend.Spec, writable string, again bool) error {
	list, err := layers.Parse(spec.Rootfs)
	if err != nil {
		return err
	}
	overlay := layers.Overlay{
		Layers: list, Upper: filepath.Join(writable, "upper"), Work: filepath.Join(writable, "work"),
		Target: rootOf(c.dir), IDs: c.rec.IDs, Again: again,
	}
	for _, dir := range []string{overlay.Upper, overlay.Work, overlay.Target} {
		if err := os.MkdirAll(dir, dirMode); err != nil { //nolint:gosec // the container's own, or on the way to it
			return fmt.Errorf("make container: %w", err)
		}
	}
	if err := overlay.Mount(ctx); err != nil {
		return fmt.Errorf("make the container's root: %w", err)
	}
	if !again {
		if err := c.furnish(spec.Handle); err != nil {
			return fmt.Errorf("furnish container: %w", err)
		}
	}
	binds := make([]layers.Bind, 0, len(spec.Mounts)+1)
	for _, m := range spec.Mounts {
		binds = append(binds, layers.Bind{Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	binds = append(binds, layers.Bind{Source: c.b.init, Target: initPath, ReadOnly: true})
	for _, bind := range binds {
		if err := layers.MountBind(overlay.Target, c.rec.IDs, bind); err != nil {
			return fmt.Errorf("bind mount %s: %w", bind.Target, err)
		}
	}
	return nil
}

// furnish writes what a container has of its own in its root: its name, who it is, and where names are asked for. The
// root must hold no bind mounts yet.
func (c *container) furnish(handle string) error {
	root, err := os.OpenRoot(rootOf(c.dir))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	name := hostname(handle)
	_, inside := c.Addresses()
	files := map[string]string{
		"etc/hostname": name + "\n",
		"etc/hosts":    "127.0.0.1 localhost\n" + inside.String() + " " + name + "\n",
	}
	// The stack's own where the machine has no name server that is reached from inside.
	if servers, ok, err := rootfs.ResolvConf("/"); err == nil && ok {
		files["etc/resolv.conf"] = servers
	}
	owner := int(c.rec.IDs.Host)
	if err := root.MkdirAll("etc", dirMode); err != nil {
		return err
	}
	for path, content := range files {
		// A link would lead to what others have too.
		if err := root.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := root.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
		if err := root.Lchown(path, owner, owner); err != nil {
			return err
		}
	}
	return c.furnishHome(root)
}

// furnishHome makes vcap's home where the layers have none.
func (c *container) furnishHome(root *os.Root) error {
	home := strings.TrimPrefix(filepath.Clean(c.rec.Vcap.Home), "/")
	if _, err := root.Stat(home); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := root.MkdirAll(home, dirMode); err != nil {
		return err
	}
	owner, err := c.owner()
	if err != nil {
		return err
	}
	return root.Lchown(home, owner.UID, owner.GID)
}

// hostname makes a name that the kernel and other programs take out of any handle.
func hostname(handle string) string {
	const longest = 63
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, handle)
	name = strings.Trim(name[:min(len(name), longest)], "-")
	if name == "" {
		return "container"
	}
	return name
}

// start runs the init and gives it its network.
func (c *container) start(ctx context.Context, handle string, events backend.Events) error {
	if err := c.run(ctx, handle); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := c.b.network.Attach(groupCtx, c.rec.Network, c.rec.PID); err != nil {
			return fmt.Errorf("connect the container's network: %w", err)
		}
		return nil
	})
	group.Go(func() error { return c.connect(groupCtx, events.Events) })
	if err := group.Wait(); err != nil {
		return err
	}
	return c.watch(events)
}

// connect drives the init. Jobs that keep it from answering are dealt with as soon as it is slow.
func (c *container) connect(ctx context.Context, events initproc.Events) (err error) {
	events.Slow = c.thaw
	c.init, err = initproc.Connect(ctx, stateOf(c.dir), events)
	return err
}

func (c *container) thaw() {
	c.b.warn("jobs may keep the init from its work", c.id, initproc.Thaw(c.rec.PID))
}

// run has the runtime start the init.
func (c *container) run(ctx context.Context, handle string) error {
	host := c.rec.IDs.Host
	inherited, err := initproc.Prepare(stateOf(c.dir), host, host)
	if err != nil {
		return err
	}
	defer inherited.Close()
	join, err := c.group.JoinFiles()
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range join {
			_ = f.Close()
		}
	}()
	files, args := inherited.Command(initPath, join, c.b.cgroups.Version())
	spec, err := ociruntime.Spec(ociruntime.Container{
		ID: c.id, Root: rootOf(c.dir), Hostname: hostname(handle), Args: args, IDs: c.rec.IDs, CgroupPath: c.b.cgroups.RuntimePath(c.id),
	})
	if err != nil {
		return err
	}
	spec.Process.Env = initproc.Environment()
	if err := os.MkdirAll(bundleOf(c.dir), 0o700); err != nil {
		return err
	}
	if err := c.b.runtime.WriteBundle(bundleOf(c.dir), spec); err != nil {
		return err
	}
	pid, err := c.b.runtime.Run(ctx, ociruntime.Run{ID: c.id, Bundle: bundleOf(c.dir), Files: files, Log: inherited.Log})
	if err != nil {
		return fmt.Errorf("start the container: %w", err)
	}
	if err := c.rec.identify(pid); err != nil {
		return err
	}
	return c.save()
}

func (c *container) watch(events backend.Events) error {
	if events.OutOfMemory == nil {
		return nil
	}
	var ctx context.Context
	ctx, c.unwatch = context.WithCancel(context.Background())
	return c.group.WatchOOM(ctx, events.OutOfMemory)
}
