package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/benchmark"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/sandbox"
	"github.com/durable-dea/dea/warden"
)

// What the node gives out: room for the most instances there are at once, those by hand included.
const (
	nodeMemoryMB  = 64 << 10
	nodeDiskMB    = 1 << 20
	instancePorts = 450
)

// instanceSizes are how much is measured.
type instanceSizes struct {
	warmUps, starts, largeStarts int
	// together is how many instances are started at once, kills how many apps are killed, killsEach times each.
	together, togetherRuns, kills int
	// few and many are the instances of an idle node, watched for idle.
	few, many int
	idle      time.Duration
}

func sizesOf(o options) instanceSizes {
	if o.quick {
		return instanceSizes{
			warmUps: 1, starts: 3, largeStarts: 1, together: 10, togetherRuns: 1, kills: 1, few: 2, many: 10,
			idle: min(o.idle, 10*time.Second),
		}
	}
	return instanceSizes{
		warmUps: 3, starts: 30, largeStarts: 5, together: 100, togetherRuns: 3, kills: 7, few: 20, many: 200, idle: o.idle,
	}
}

// backends are the kinds of containers that are measured: those that were asked for, or those that this machine can have.
func (o options) backends() []string {
	if o.backend != "" {
		return []string{o.backend}
	}
	if sandbox.Check() == nil && hasRuntime() {
		return []string{"process", "oci"}
	}
	return []string{"process"}
}

func hasRuntime() bool {
	_, crun := exec.LookPath("crun")
	_, runc := exec.LookPath("runc")
	return crun == nil || runc == nil
}

// measureInstances measures instances on a stack of one node for each kind of containers.
func measureInstances(ctx context.Context, o options) ([]benchmark.Row, error) {
	var rows []benchmark.Row
	for _, backend := range o.backends() {
		measured, err := measureBackend(ctx, backend, sizesOf(o))
		if err != nil {
			return nil, fmt.Errorf("instances with the backend %s: %w", backend, err)
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

// instancesBench is what the measurements of instances share.
type instancesBench struct {
	*stack.Stack
	instanceSizes
	backend string
	// dir holds the apps, their droplets and what is bound into containers by hand; containers' users pass through it.
	dir     string
	metrics string
	keys    *codec.Keyring
	warden  *warden.Client
	// made counts apps, so that each has a name of its own.
	made int
}

func measureBackend(ctx context.Context, backend string, sizes instanceSizes) (rows []benchmark.Row, failed error) {
	b := &instancesBench{backend: backend, instanceSizes: sizes}
	defer func() { failed = errors.Join(failed, b.close()) }()
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	small, err := b.makeDroplet(ctx, "small", smallDroplet)
	if err != nil {
		return nil, err
	}
	large, err := b.makeDroplet(ctx, "large", largeDroplet)
	if err != nil {
		return nil, err
	}
	for _, measure := range []func(context.Context) ([]benchmark.Row, error){
		func(ctx context.Context) ([]benchmark.Row, error) { return b.measureStart(ctx, small) },
		func(ctx context.Context) ([]benchmark.Row, error) { return b.measureSecond(ctx, large) },
		func(ctx context.Context) ([]benchmark.Row, error) { return b.measureTogether(ctx, small) },
		func(ctx context.Context) ([]benchmark.Row, error) { return b.measureKills(ctx, small) },
		func(ctx context.Context) ([]benchmark.Row, error) { return b.measureIdle(ctx, small) },
	} {
		measured, err := measure(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, b.Warnings())
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

// row is one of this backend's.
func (b *instancesBench) row(name, unit string, value, floor float64, bar benchmark.Bar) benchmark.Row {
	return benchmark.Make(fmt.Sprintf("%s (%s)", name, b.backend), unit, value, floor, bar)
}

func (b *instancesBench) start(ctx context.Context) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "dea-instances"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	if err := os.Chmod(b.dir, 0o711); err != nil { //nolint:gosec // containers' users pass through it
		return fmt.Errorf("open a directory: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	b.metrics = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	flags := []string{
		"--backend", b.backend, "--memory-mb", strconv.Itoa(nodeMemoryMB), "--disk-mb", strconv.Itoa(nodeDiskMB),
		"--instance-ports", strconv.Itoa(instancePorts), "--temporal-metrics", b.metrics,
	}
	if b.backend == "oci" {
		rootfs, err := b.makeRootFS(ctx)
		if err != nil {
			return err
		}
		flags = append(flags, "--rootfs", rootfs)
	}
	b.Stack, err = stack.Start(ctx, stack.Options{Data: filepath.Join(b.dir, "data"), Flags: flags})
	if err != nil {
		return err
	}
	if b.keys, err = codec.LoadKeyring(b.Client.Temporal.EncryptionKeyFile); err != nil {
		return fmt.Errorf("load the keys: %w", err)
	}
	b.warden = warden.NewClient(b.Nodes[0].WardenSocket, warden.WithMaxIdle(b.together))
	return b.copyRunner()
}

// makeRootFS makes one of this machine's programs that apps without a build need.
func (b *instancesBench) makeRootFS(ctx context.Context) (string, error) {
	program, err := stack.Bin("wardend")
	if err != nil {
		return "", err
	}
	rootfs := filepath.Join(b.dir, "rootfs")
	arguments := []string{"rootfs", "host", rootfs}
	for _, unused := range []string{"/usr/local", "/usr/share", "/usr/include", "/usr/lib/gcc"} {
		arguments = append(arguments, "--exclude", unused)
	}
	if said, err := exec.CommandContext(ctx, program, arguments...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a root file system: %w\n%s", err, said)
	}
	return rootfs, nil
}

func (b *instancesBench) close() error {
	var failed error
	if b.warden != nil {
		failed = b.warden.Close()
	}
	if b.Stack != nil {
		failed = errors.Join(failed, b.Stop())
	}
	if failed != nil {
		return failed // what is left may be mounted there
	}
	return os.RemoveAll(b.dir)
}

// app is an app of the benchmark's that runs a droplet, with a name of its own.
func (b *instancesBench) app(of droplet, instances int) api.AppSpec {
	b.made++
	spec := of.spec
	spec.Instances = instances
	id := fmt.Sprintf("bench-%s-%d", of.name, b.made)
	spec.Message.AppID, spec.Message.Name, spec.Message.Version = id, id, "1"
	spec.Message.URIs = []string{id + ".localhost"}
	spec.Message.StartCommand = "./serve " + id
	return spec
}

// remove takes apps away and waits until nothing of them is left.
func (b *instancesBench) remove(ctx context.Context, apps ...string) error {
	var failed error
	for _, app := range apps {
		_, err := b.Control.Delete(ctx, app, "measured")
		failed = errors.Join(failed, err)
	}
	for _, app := range apps {
		failed = errors.Join(failed, b.Control.AwaitGone(ctx, app))
	}
	return failed
}
