package cgroups

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"github.com/hashicorp/go-hclog"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const (
	prefix   = "wardend-"
	appName  = "app"
	initName = "init"
)

// Manager makes, finds and removes the cgroups of one instance's containers. Its methods may be called at the same
// time, for different containers.
type Manager struct {
	layout

	instance string
	names    names
	// groups are the hierarchies that groups are made in.
	groups []string
	oom    *watcher
}

// Open finds the machine's cgroups and makes those of the instance, [a-z0-9]{1,8}, that all its containers lie in. It
// says in the log, once, which controllers there are not: what they would limit is then not limited, and no method
// fails for it. It fails with ErrNone where there are none at all, with ErrName, or when the kernel does not let it.
func Open(ctx context.Context, instance string, log hclog.Logger) (*Manager, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
	}
	found, err := findLayout(mounts)
	if err != nil {
		return nil, err
	}
	return open(ctx, instance, found, log)
}

func open(ctx context.Context, instance string, found layout, log hclog.Logger) (*Manager, error) {
	m := &Manager{layout: found, instance: instance, names: newNames()}
	if err := m.names.checkInstance(instance); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.groups = m.own()
	for _, root := range m.groups {
		if err := makeDir(m.parent(root)); err != nil {
			return nil, fmt.Errorf("wardend must be root and cgroups writable: %w", err)
		}
	}
	if m.version == 2 { //nolint:mnd // v2
		m.enable(log)
	}
	for _, controller := range []string{memoryController, cpuController, cpuacctController, pidsController} {
		if m.roots[controller] == "" {
			log.Warn("this machine has no such cgroup controller", "controller", controller, "effect", effects()[controller])
		}
	}
	if err := m.weigh(); err != nil {
		return nil, err
	}
	m.oom = newWatcher(m.version, log)
	return m, nil
}

// Version is 1 or 2: that of the cgroups in use. With v1's controllers mounted it is 1, though v2 be mounted too.
func (m *Manager) Version() int { return m.version }

// parent is the instance's group in a hierarchy.
func (m *Manager) parent(root string) string { return filepath.Join(root, prefix+m.instance) }

// RuntimePath is the runtime's linux.cgroupsPath for a container: /wardend-<instance>/<id>/init. Being absolute it is
// taken from the root of each mount, by runc and crun alike, wherever the caller's own cgroup is. An id that no
// container can have gives an empty path, which is the runtime's default.
func (m *Manager) RuntimePath(id string) string {
	name, err := m.names.dir(id)
	if err != nil {
		return ""
	}
	return filepath.Join("/", prefix+m.instance, name, initName)
}

// weigh gives all containers together as much weight against the rest of the machine as a busy thread on each CPU has.
// Left at the default, one such thread would weigh as much as all containers.
func (m *Manager) weigh() error {
	root := m.roots[cpuController]
	if root == "" {
		return nil
	}
	cpus := uint64(runtime.NumCPU()) //nolint:gosec // positive
	if m.version == 1 {
		return write(filepath.Join(m.parent(root), "cpu.shares"), strconv.FormatUint(min(cpus*defaultShares, maxShares), 10))
	}
	return write(filepath.Join(m.parent(root), "cpu.weight"), strconv.FormatUint(min(cpus*defaultWeight, maxWeight), 10))
}

// Create makes a container's group, without limits. It fails with fs.ErrExist if any of it is there already, which
// Open opens and Remove removes; after an error it leaves nothing that it made.
func (m *Manager) Create(id string) (*Group, error) {
	name, err := m.names.dir(id)
	if err != nil {
		return nil, err
	}
	g := &Group{m: m, id: id, name: name}
	for i, root := range m.groups {
		if err := g.create(root); err != nil {
			return nil, errors.Join(err, g.undo(m.groups[:i]))
		}
	}
	return g, nil
}

func (g *Group) create(root string) error {
	container, app := g.container(root), g.dir(root)
	if err := makeDir(container); err != nil {
		return err
	}
	if g.m.version == 2 { //nolint:mnd // v2
		if err := g.m.passOn(container); err != nil {
			return errors.Join(err, rmdir(container))
		}
	}
	if err := unix.Mkdir(app, dirMode); err != nil {
		err = &fs.PathError{Op: "make cgroup", Path: app, Err: err}
		if errors.Is(err, fs.ErrExist) {
			return err
		}
		return errors.Join(err, rmdir(container))
	}
	return nil
}

// undo removes what was just made and is empty.
func (g *Group) undo(roots []string) error {
	var errs []error
	for _, root := range roots {
		errs = append(errs, rmdir(g.dir(root)))
		// The runtime may have its own there.
		if err := rmdir(g.container(root)); !errors.Is(err, unix.EBUSY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Open finds a container's group again. It fails with fs.ErrNotExist if it is not whole; Remove removes the parts.
func (m *Manager) Open(id string) (*Group, error) {
	name, err := m.names.dir(id)
	if err != nil {
		return nil, err
	}
	g := &Group{m: m, id: id, name: name}
	for _, root := range m.groups {
		var stat unix.Stat_t
		if err := unix.Stat(g.dir(root), &stat); err != nil {
			return nil, &fs.PathError{Op: "open cgroup", Path: g.dir(root), Err: err}
		}
	}
	return g, nil
}

// IDs are the containers of which there is any cgroup, also one that the runtime made, sorted.
func (m *Manager) IDs() ([]string, error) {
	found := map[string]bool{}
	for _, root := range m.all {
		dirs, err := children(m.parent(root))
		if err != nil {
			return nil, fmt.Errorf("list cgroups: %w", err)
		}
		for _, dir := range dirs {
			if id, ours := m.names.fromDir(filepath.Base(dir)); ours {
				found[id] = true
			}
		}
	}
	ids := make([]string, 0, len(found))
	for id := range found {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// Close ends all watches, and removes the instance's own groups where no container has one any more. Containers are
// left as they are. It can be called twice.
func (m *Manager) Close() error {
	errs := []error{m.oom.close()}
	for _, root := range m.all {
		if err := rmdir(m.parent(root)); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
