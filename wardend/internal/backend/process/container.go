package process

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/copytree"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

type container struct {
	backend *Backend
	root    string
	initDir string
	init    *initproc.Client
	paths   paths
	disk    diskUsage
}

func (c *container) Path() string { return c.root }

func (c *container) Addresses() (host, inside netip.Addr) { return loopback(), loopback() }

func (c *container) Init() *initproc.Client {
	if c.init == nil || c.init.Lost() {
		return nil
	}
	return c.init
}

func (c *container) InitDir() string { return c.initDir }

func (c *container) Close() {
	if c.init != nil {
		c.init.Close()
	}
}

// OutOfMemory is never true: there is no limit.
func (*container) OutOfMemory() bool { return false }

// EndOrphans finds the processes by what their jobs were started with.
func (c *container) EndOrphans(ctx context.Context) error { return endOrphans(ctx, c.initDir, c.root) }

// Job says how a job is run. The limit of processes counts all of a user's, and here jobs are the server's user's: it
// is set only for root, whom the kernel exempts.
func (c *container) Job(privileged bool, limits []initproc.Rlimit) initproc.SpawnSpec {
	home, user, path := filepath.Join(c.root, "home/vcap"), "vcap", "/bin:/usr/bin"
	if privileged {
		home, user, path = filepath.Join(c.root, "root"), "root", "/sbin:/bin:/usr/sbin:/usr/bin"
	}
	applied := make([]initproc.Rlimit, 0, len(limits))
	for _, l := range limits {
		if l.Resource == unix.RLIMIT_NPROC && os.Geteuid() != 0 {
			c.backend.cannot("rlimit nproc without root")
			continue
		}
		applied = append(applied, l)
	}
	return initproc.SpawnSpec{
		Args:    []string{"/bin/bash"},
		Env:     []string{"HOME=" + home, "LANG=C.UTF-8", "PATH=" + path, "USER=" + user},
		Dir:     home,
		Rlimits: applied,
	}
}

// NetIn has the init pass connections on when the ports differ; otherwise a job listens on the host's port itself.
func (c *container) NetIn(ctx context.Context, hostPort, containerPort uint32) error {
	if hostPort == containerPort {
		return nil
	}
	init := c.Init()
	if init == nil {
		return initproc.ErrLost
	}
	return init.Forward(ctx, initproc.ForwardSpec{Listen: address(hostPort), Target: address(containerPort)})
}

func address(port uint32) string {
	return netip.AddrPortFrom(loopback(), uint16(port)).String() //nolint:gosec // checked by the registry
}

func (c *container) NetOut(context.Context, *wardenpb.NetOutRequest) error {
	c.backend.cannot("egress rules")
	return nil
}

func (c *container) Limit(_ context.Context, l backend.Limits) error {
	none := backend.NoLimits()
	for what, differs := range map[string]bool{
		"memory limit":    l.MemoryBytes != none.MemoryBytes,
		"CPU shares":      l.CPUShares != none.CPUShares,
		"bandwidth limit": l.Rate != none.Rate || l.Burst != none.Burst,
		"disk limit":      l.BlockHard != 0 || l.BlockSoft != 0 || l.InodeHard != 0 || l.InodeSoft != 0,
	} {
		if differs {
			c.backend.cannot(what)
		}
	}
	return nil
}

func (c *container) CopyIn(ctx context.Context, hostPath, containerPath string) error {
	target, err := c.paths.resolve(containerPath, true)
	if err != nil {
		return fmt.Errorf("%w: %w", copytree.ErrFailed, err)
	}
	return copytree.Copy(ctx, hostPath, keepSlash(target, containerPath), nil)
}

func (c *container) CopyOut(ctx context.Context, containerPath, hostPath, owner string) error {
	var belongsTo *copytree.Owner
	if owner != "" {
		var err error
		if belongsTo, err = copytree.ParseOwner(owner); err != nil {
			return err
		}
	}
	source, err := c.paths.resolve(containerPath, isContent(containerPath))
	if err != nil {
		return fmt.Errorf("%w: %w", copytree.ErrFailed, err)
	}
	return copytree.Copy(ctx, keepSlash(source, containerPath), hostPath, belongsTo)
}

// keepSlash gives a resolved path the trailing slash of the one that was asked for.
func keepSlash(resolved, asked string) string {
	if isContent(asked) {
		return resolved + "/"
	}
	return resolved
}

// removeAll removes a tree, also where directories in it do not allow that to their own owner.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, os.ErrPermission) {
		return err
	}
	walkErr := filepath.WalkDir(path, func(path string, entry os.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() {
			// Before it is read: WalkDir calls this first.
			_ = os.Chmod(path, 0o700) //nolint:gosec // about to be removed
		}
		return nil
	})
	if err := os.RemoveAll(path); err != nil {
		return errors.Join(err, walkErr)
	}
	return nil
}

func pageSize() uint64 { return uint64(os.Getpagesize()) } //nolint:gosec // positive
