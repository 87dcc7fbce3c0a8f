package oci

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/cgroups"
	"github.com/durable-dea/dea/wardend/internal/copytree"
	"github.com/durable-dea/dea/wardend/internal/initproc"
	"github.com/durable-dea/dea/wardend/internal/layers"
	"github.com/durable-dea/dea/wardend/internal/scratch"
)

type container struct {
	b    *Backend
	id   string
	dir  string
	rec  record
	init *initproc.Client
	// group holds the limits; nil for a container whose cgroup is gone, as after a reboot.
	group *cgroups.Group
	// unwatch ends watching for want of memory.
	unwatch context.CancelFunc

	limitMu sync.Mutex
	// limits are those that are in force; nil before they are known.
	limits *backend.Limits
}

func (b *Backend) container(spec backend.Spec, rec *record) *container {
	return &container{b: b, id: filepath.Base(spec.Dir), dir: spec.Dir, rec: *rec, unwatch: func() {}}
}

func rootOf(dir string) string   { return filepath.Join(dir, "tmp", "rootfs") }
func bundleOf(dir string) string { return filepath.Join(dir, "bundle") }
func stateOf(dir string) string  { return filepath.Join(dir, "init") }

// Path is the container's directory; its root is tmp/rootfs beneath, as the original had it.
func (c *container) Path() string { return c.dir }

func (c *container) Addresses() (host, inside netip.Addr) {
	host = c.rec.Network.Masked().Addr().Next()
	return host, host.Next()
}

func (c *container) Init() *initproc.Client {
	if c.init == nil || c.init.Lost() {
		return nil
	}
	return c.init
}

func (c *container) InitDir() string { return stateOf(c.dir) }

func (c *container) Close() {
	c.unwatch()
	if c.init != nil {
		c.init.Close()
	}
}

// Job says how a job is run: by bash, as vcap, or as the container's root.
func (c *container) Job(privileged bool, limits []initproc.Rlimit) initproc.SpawnSpec {
	u, name, path := c.rec.Vcap, vcapName, "/bin:/usr/bin"
	if privileged {
		u, name, path = c.rec.Root, rootName, "/sbin:/bin:/usr/sbin:/usr/bin"
	}
	return initproc.SpawnSpec{
		Args:    []string{"/bin/bash"},
		Env:     []string{"HOME=" + u.Home, "LANG=C.UTF-8", "PATH=" + path, "USER=" + name},
		Dir:     u.Home,
		User:    &initproc.User{UID: u.UID, GID: u.GID, Groups: u.Groups},
		Rlimits: limits,
	}
}

func (c *container) NetIn(ctx context.Context, hostPort, containerPort uint32) error {
	return c.b.network.NetIn(ctx, c.rec.Network, uint16(hostPort), uint16(containerPort)) //nolint:gosec // checked by the registry
}

func (c *container) NetOut(ctx context.Context, rule *wardenpb.NetOutRequest) error {
	return c.b.network.NetOut(ctx, c.rec.Network, rule)
}

// blockSize is the unit of the block limits in bytes.
const blockSize = 1024

// Limit applies what differs from what is in force. What is in force is not known in a container that was found: then
// all of it is applied. A container whose init is gone has no network any more, and none whose cgroup is has processes:
// there is nothing to limit then.
func (c *container) Limit(ctx context.Context, l backend.Limits) error {
	c.limitMu.Lock()
	defer c.limitMu.Unlock()
	old := c.limits
	var errs []error
	if c.group != nil && (old == nil || old.MemoryBytes != l.MemoryBytes) {
		errs = append(errs, c.group.SetMemory(l.MemoryBytes))
	}
	if c.group != nil && (old == nil || old.CPUShares != l.CPUShares) {
		errs = append(errs, c.group.SetCPUShares(l.CPUShares))
	}
	if old == nil || old.BlockHard != l.BlockHard || old.InodeHard != l.InodeHard {
		errs = append(errs, c.limitDisk(ctx, l))
	}
	if c.Init() != nil && (old == nil || old.Rate != l.Rate || old.Burst != l.Burst) {
		errs = append(errs, c.b.network.LimitBandwidth(ctx, c.rec.Network, l.Rate, l.Burst))
	}
	if err := errors.Join(errs...); err != nil {
		c.limits = nil // some of it may be in force
		return err
	}
	c.limits = &l
	return nil
}

func (c *container) limitDisk(ctx context.Context, l backend.Limits) error {
	err := c.b.scratch.Limit(ctx, c.id, l.BlockHard*blockSize, l.InodeHard)
	if errors.Is(err, scratch.ErrInodesUnlimited) {
		// As the protocol's answer says, the limit is kept; what cannot be had is no reason to have no container.
		c.b.inodesOnce.Do(func() {
			c.b.opts.Log.Warn("limits of inodes are recorded and have no effect: the disk limits of this kind count bytes alone", "kind", c.b.scratch.Name())
		})
		return nil
	}
	return err
}

// view is the container's tree to copy from and to: as its processes see it, with what they have mounted; or, when its
// init is gone, what is left of it.
func (c *container) view() (*os.Root, error) {
	if c.Init() != nil && alive(&c.rec) {
		root, err := os.OpenRoot("/proc/" + strconv.Itoa(c.rec.PID) + "/root")
		// It was the init's if it still lives: its number cannot have been another's in between.
		if err == nil && alive(&c.rec) {
			return root, nil
		}
		if err == nil {
			_ = root.Close()
		}
	}
	// The directory that it is mounted on is not the container's: what lies there would never be removed.
	if mounted, err := layers.Mounted(rootOf(c.dir)); err != nil || !mounted {
		return nil, errors.Join(errors.New("the container's root is not mounted"), err)
	}
	return os.OpenRoot(rootOf(c.dir))
}

// CopyIn gives what it copies to vcap.
func (c *container) CopyIn(ctx context.Context, hostPath, containerPath string) error {
	owner, err := c.owner()
	if err != nil {
		return err
	}
	root, err := c.view()
	if err != nil {
		return fmt.Errorf("%w: %w", copytree.ErrFailed, err)
	}
	defer func() { _ = root.Close() }()
	return copytree.CopyIn(ctx, hostPath, root, containerPath, owner)
}

func (c *container) owner() (*copytree.Owner, error) {
	uid, ok1 := c.rec.IDs.ToHost(c.rec.Vcap.UID)
	gid, ok2 := c.rec.IDs.ToHost(c.rec.Vcap.GID)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("user vcap has an id that is not mapped: %d:%d", c.rec.Vcap.UID, c.rec.Vcap.GID)
	}
	return &copytree.Owner{UID: int(uid), GID: int(gid)}, nil
}

func (c *container) CopyOut(ctx context.Context, containerPath, hostPath, owner string) error {
	var belongsTo *copytree.Owner
	if owner != "" {
		var err error
		if belongsTo, err = copytree.ParseOwner(owner); err != nil {
			return err
		}
	}
	root, err := c.view()
	if err != nil {
		return fmt.Errorf("%w: %w", copytree.ErrFailed, err)
	}
	defer func() { _ = root.Close() }()
	return copytree.CopyOut(ctx, root, containerPath, hostPath, belongsTo)
}

// OutOfMemory reads the kernel's count.
func (c *container) OutOfMemory() bool {
	if c.group == nil {
		return false
	}
	kills, err := c.group.OOMKills()
	return err == nil && kills > 0
}

// EndOrphans ends the container's process 1, and with it all others. Where no record names it, the runtime may know it.
func (c *container) EndOrphans(ctx context.Context) error {
	if c.rec.PID == 0 {
		return c.b.runtime.Delete(ctx, c.id)
	}
	return killInit(ctx, &c.rec)
}

// Stats are what the jobs use, without the init.
func (c *container) Stats(ctx context.Context) (backend.Stats, error) {
	stats := backend.Stats{Memory: &wardenpb.InfoResponse_MemoryStat{}, CPU: &wardenpb.InfoResponse_CpuStat{}}
	var errs []error
	if c.group != nil {
		memory, err := c.group.Memory()
		if err == nil {
			stats.Memory = memory
		}
		cpu, cpuErr := c.group.CPU()
		if cpuErr == nil {
			stats.CPU = cpu
		}
		errs = append(errs, err, cpuErr)
	}
	bytes, inodes, err := c.b.scratch.Usage(ctx, c.id)
	stats.Disk = &wardenpb.InfoResponse_DiskStat{BytesUsed: &bytes, InodesUsed: &inodes}
	return stats, errors.Join(append(errs, err)...)
}
