package process

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

// Name of the backend.
const Name = "process"

const (
	rootName = "root"
	initName = "init"
	dirMode  = 0o755
)

// Backend makes containers of plain processes.
type Backend struct {
	log     hclog.Logger
	command []string

	mu   sync.Mutex
	said map[string]bool
}

// New makes the backend. InitCommand is the program that calls initproc.Main, with its arguments.
func New(log hclog.Logger, initCommand []string) *Backend {
	return &Backend{log: log, command: initCommand, said: map[string]bool{}}
}

// Name is "process".
func (*Backend) Name() string { return Name }

// Networked is false: containers share the machine's network.
func (*Backend) Networked() bool { return false }

// Sweep has nothing to do: all that a container has lies in its directory.
func (*Backend) Sweep(context.Context, []string) error { return nil }

// Close has nothing to let go of.
func (*Backend) Close() error { return nil }

// cannot says in the log, once, what was asked for and is not done.
func (b *Backend) cannot(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.said[what] {
		b.said[what] = true
		b.log.Warn("the process backend cannot do this; it is recorded and has no effect", "what", what)
	}
}

// Check refuses a rootfs that is no directory and a mount whose source is missing.
func (*Backend) Check(spec backend.Spec) error {
	if spec.Rootfs != "" {
		if info, err := os.Stat(spec.Rootfs); err != nil || !info.IsDir() {
			return fmt.Errorf("rootfs %s not found", spec.Rootfs)
		}
	}
	for _, m := range spec.Mounts {
		if _, err := os.Stat(m.Source); err != nil {
			return fmt.Errorf("Source path for bind mount does not exist: %s", m.Source) //nolint:staticcheck // the protocol's words
		}
	}
	return nil
}

// Create makes the directories and mounts, and starts the init.
func (b *Backend) Create(ctx context.Context, spec backend.Spec, events backend.Events) (backend.Container, error) {
	c := b.container(spec)
	err := c.build(spec)
	if err == nil {
		err = initproc.Start(c.InitDir(), b.command)
	}
	if err == nil {
		c.init, err = initproc.Connect(ctx, c.InitDir(), events.Events)
	}
	if err != nil {
		return nil, errors.Join(err, b.Remove(context.WithoutCancel(ctx), spec))
	}
	if spec.Rootfs != "" {
		b.cannot("rootfs")
	}
	return c, nil
}

// Open finds a container again.
func (b *Backend) Open(ctx context.Context, spec backend.Spec, events backend.Events) (backend.Container, error) {
	c := b.container(spec)
	for _, m := range spec.Mounts {
		if link, err := c.paths.mountPoint(m.Target); err == nil {
			c.paths.mounts[link] = m.Source
		}
	}
	init, err := initproc.Connect(ctx, c.InitDir(), events.Events)
	if err != nil {
		return c, err
	}
	c.init = init
	return c, nil
}

// Remove ends the container's processes and removes its directories.
func (b *Backend) Remove(ctx context.Context, spec backend.Spec) error {
	dir := filepath.Join(spec.Dir, initName)
	root := filepath.Join(spec.Dir, rootName)
	if err := b.end(ctx, dir, root); err != nil {
		return err
	}
	return errors.Join(removeAll(root), removeAll(dir))
}

func (b *Backend) end(ctx context.Context, initDir, root string) error {
	if _, err := os.Stat(initDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	err := shutDown(ctx, initDir)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.log.Warn("the init of a container does not answer; its processes are looked for one by one", "dir", initDir, "error", err)
	return endOrphans(ctx, initDir, root)
}

// shutdownTimeout bounds how long an init that has said hello may take to end all.
const shutdownTimeout = 30 * time.Second

func shutDown(ctx context.Context, initDir string) error {
	init, err := initproc.Connect(ctx, initDir, initproc.Events{})
	if err != nil {
		return err
	}
	defer init.Close()
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	return init.Shutdown(ctx)
}

func endOrphans(ctx context.Context, initDir, root string) error {
	if err := initproc.Kill(initDir); err != nil {
		return err
	}
	return sweep(ctx, root)
}

func (b *Backend) container(spec backend.Spec) *container {
	root := filepath.Join(spec.Dir, rootName)
	return &container{
		backend: b,
		root:    root,
		initDir: filepath.Join(spec.Dir, initName),
		paths:   paths{root: root, mounts: map[string]string{}},
		disk:    diskUsage{root: root},
	}
}

// build makes what a new container has.
func (c *container) build(spec backend.Spec) error {
	for _, dir := range []string{"home/vcap", "root", "tmp"} {
		if err := os.MkdirAll(filepath.Join(c.root, dir), dirMode); err != nil {
			return fmt.Errorf("make container: %w", err)
		}
	}
	// Mkdir's mode is subject to the umask, and has no sticky bit.
	if err := os.Chmod(filepath.Join(c.root, "tmp"), os.ModeSticky|os.ModePerm); err != nil {
		return fmt.Errorf("make container: %w", err)
	}
	for _, m := range spec.Mounts {
		if err := c.mount(m); err != nil {
			return fmt.Errorf("bind mount %s: %w", m.Target, err)
		}
	}
	return nil
}

// mount makes a link where a mount would be.
func (c *container) mount(m backend.Mount) error {
	if !filepath.IsAbs(m.Source) {
		return fmt.Errorf("its source %q is not absolute", m.Source)
	}
	link, err := c.paths.mountPoint(m.Target)
	if err != nil {
		return err
	}
	parent := filepath.Dir(link)
	if parent != c.root && !strings.HasPrefix(parent, c.root+"/") {
		return errors.New("it lies within another bind mount")
	}
	if err := os.MkdirAll(parent, dirMode); err != nil {
		return err
	}
	// An empty directory makes way.
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(m.Source, link); err != nil {
		return err
	}
	c.paths.mounts[link] = m.Source
	if m.ReadOnly {
		c.backend.cannot("read-only bind mounts")
	}
	return nil
}

func loopback() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }
