// Package agent puts a node's worker together and runs it.
//
//	Run: node id -- directories -- Temporal -- directory server -- activities -- Node workflow -- signals, until the end
package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/buildpackstore"
	"github.com/durable-dea/dea/internal/connection"
	"github.com/durable-dea/dea/internal/crashes"
	"github.com/durable-dea/dea/internal/diskuse"
	"github.com/durable-dea/dea/internal/drain"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/internal/execserver"
	"github.com/durable-dea/dea/internal/fetch"
	"github.com/durable-dea/dea/internal/nodeid"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/registrar"
	"github.com/durable-dea/dea/internal/stats"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/internal/telemetry"
	"github.com/durable-dea/dea/internal/workspace"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/workflows"
)

// stickyTimeout is how long a workflow waits for the worker that has it cached before any worker may have it. It is
// what a killed worker costs each of its workflows once.
const stickyTimeout = time.Second

// stopTimeout is how long a worker that is told to end waits for activities that end soon.
const stopTimeout = 5 * time.Second

// Run runs the worker of one node until a signal or ctx ends it; obey says what each signal does. Its errors say what
// to do.
func Run(ctx context.Context, node *config.Node, signals <-chan os.Signal, log hclog.Logger) error {
	id, err := nodeid.Take(node.BaseDir, node.Index)
	if err != nil {
		return err
	}
	defer func() { _ = id.Release() }()
	a := &agent{
		id: id.String(), worker: uuid.NewString(), signals: signals, node: node, log: log.With("node", id.String()),
	}
	ctx, a.started = a.starting(ctx)
	defer a.started()
	return a.run(ctx)
}

// agent is a worker in the making.
type agent struct {
	id string
	// worker tells this start of the node's worker from others.
	worker  string
	signals <-chan os.Signal
	// started ends the start, in which signals are taken otherwise than by a worker that works.
	started    func()
	node       *config.Node
	log        hclog.Logger
	temporal   client.Client
	warden     *warden.Client
	supervisor *supervisor.Supervisor
	workspaces *workspace.Store
	crashes    *crashes.Store
	meter      *stats.Meter
	telemetry  *telemetry.Telemetry
	files      *fileServer
	registrar  *registrar.Registrar
	reserved   *reservations
	// exec is nil where nobody may run commands in instances.
	exec   *execserver.Server
	drains *drain.Manager
}

func (a *agent) run(ctx context.Context) error {
	if err := a.prepare(ctx); err != nil {
		return err
	}
	var err error
	if a.telemetry, err = telemetry.New(a.id, a.log); err != nil {
		return err
	}
	defer a.telemetry.Close()
	if a.temporal, err = a.dial(ctx); err != nil {
		return err
	}
	defer a.temporal.Close()
	if err := a.openRoutes(); err != nil {
		return err
	}
	defer a.registrar.Close()
	if err := a.openDrains(); err != nil {
		return err
	}
	defer a.drains.Close()
	a.supervisor = supervisor.New(supervisor.Deps{
		Node: a.id, Warden: a.warden, Temporal: a.temporal, Workspaces: a.workspaces,
		LogLifetime: a.node.Staging.LogLifetime, Log: a.log,
		// The next regular look finds a sighting old enough, however late it or early the other was; one that comes right
		// after, since the lease has changed hands, does not.
		OrphanAge: a.node.Intervals.OrphanReap / 2,
		Watchers:  []supervisor.Watcher{a.registrar, a.drains},
		Finish:    a.drains.FinishOrphan,
	})
	defer a.supervisor.Close()
	stop, err := a.measure(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if a.files, err = a.serveFiles(); err != nil {
		return err
	}
	defer a.files.close()
	a.routeFiles(a.files.address)
	if err := a.serveExec(); err != nil {
		return err
	}
	defer a.closeExec()
	return a.work(ctx)
}

// prepare makes the node's directories, and refuses to begin where they or Warden are of no use.
func (a *agent) prepare(ctx context.Context) error {
	for _, name := range []string{"droplets", "staging", "crashes", "tmp", "admin_buildpacks"} {
		if err := usable(filepath.Join(a.node.BaseDir, name)); err != nil {
			return err
		}
	}
	if info, err := os.Stat(a.node.Runner); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("runner: %s is no file: build dea-runner, or say where it is with `runner`", a.node.Runner)
	}
	a.workspaces = workspace.New(a.node.BaseDir)
	a.crashes = crashes.New(crashes.Options{
		BaseDir: a.node.BaseDir, Lifetime: a.node.CrashLifetime, Disk: a.diskThreshold(), Log: a.log.Named("crashes"),
	})
	a.warden = warden.NewClient(a.node.WardenSocket)
	return a.awaitWarden(ctx)
}

func (a *agent) diskThreshold() diskuse.Threshold {
	return diskuse.Threshold{Dir: a.node.BaseDir, Blocks: a.node.CrashBlockUsageRatio, Inodes: a.node.CrashInodeUsageRatio}
}

// usable makes a directory and writes to it once.
func usable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("base_dir: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("base_dir: %s cannot be written: %w", dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// awaitWarden lets a Warden come up that was started at the same time, and one be away for as long as it takes.
func (a *agent) awaitWarden(ctx context.Context) error {
	said := false
	for {
		_, err := a.warden.Ping(ctx, &wardenpb.PingRequest{})
		if err == nil {
			return nil
		}
		if !said {
			a.log.Warn("waiting for the container server", "socket", a.node.WardenSocket, "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no container server at %s: %w", a.node.WardenSocket, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// dial waits for a Temporal that is away: a node that is started in an outage joins when it is over. What waiting
// does not mend ends it.
func (a *agent) dial(ctx context.Context) (client.Client, error) {
	for wait := 100 * time.Millisecond; ; wait = min(wait*2, 5*time.Second) {
		c, err := connection.Dial(ctx, a.node.Temporal, a.log, a.countTemporal)
		if err == nil || !errors.Is(err, connection.ErrUnreachable) {
			return c, err
		}
		a.log.Warn("waiting for Temporal", "address", a.node.Temporal.Address, "error", err)
		if !pause.For(ctx, wait) {
			return nil, err
		}
	}
}

// work polls until ctx ends.
func (a *agent) work(ctx context.Context) error {
	set := a.activities()
	shared := worker.New(a.temporal, api.TaskQueue, worker.Options{
		Identity:                     "worker@" + a.id,
		StickyScheduleToStartTimeout: stickyTimeout,
		WorkerStopTimeout:            stopTimeout,
		DisableRegistrationAliasing:  true,
	})
	workflows.Register(shared)
	set.RegisterShared(shared)
	own := worker.New(a.temporal, api.NodeTaskQueue(a.id), worker.Options{
		Identity:                    "worker@" + a.id,
		DisableWorkflowWorker:       true,
		WorkerStopTimeout:           stopTimeout,
		DisableRegistrationAliasing: true,
	})
	set.RegisterNode(own)
	if err := shared.Start(); err != nil {
		return fmt.Errorf("poll %s: %w", api.TaskQueue, err)
	}
	defer shared.Stop()
	if err := own.Start(); err != nil {
		return fmt.Errorf("poll %s: %w", api.NodeTaskQueue(a.id), err)
	}
	defer own.Stop()
	if err := a.startLedger(ctx); err != nil {
		return err
	}
	defer a.keepLedger(ctx)()
	a.log.Info("working", "files", a.files.url)
	a.started()
	a.obey(ctx)
	return nil
}

func (a *agent) activities() activities.Set {
	http := fetch.New(fetch.Options{})
	cache := droplets.New(a.node.BaseDir)
	downloads := activities.NewDroplets(activities.DropletsDeps{
		Node: a.id, Temporal: a.temporal, Cache: cache, Warden: a.warden, HTTP: http, Log: a.log,
		MaxBytes: a.node.Droplets.MaxDropletMB << 20,
		Keep:     droplets.Keep{MaxBytes: a.node.Droplets.MaxMB << 20, Unused: a.node.Droplets.UnusedLifetime},
		Disk:     a.diskThreshold(),
	})
	packages := activities.NewPackages(activities.PackagesDeps{
		Config: a.node, Workspaces: a.workspaces, Buildpacks: buildpackstore.New(a.node.BaseDir, http),
		HTTP: http, Log: a.log,
	})
	return activities.Set{
		Placement: activities.NewPlacement(a.temporal, a.node.Temporal.Namespace, a.log),
		CloudController: activities.NewCloudController(activities.CloudControllerDeps{
			URL: a.node.CCURL.Reveal(), Workspaces: a.workspaces, Droplets: cache, HTTP: http, Log: a.log,
		}),
		Droplets: downloads,
		Containers: activities.NewContainers(activities.ContainersDeps{
			Warden: a.warden, Config: a.node, Workspaces: a.workspaces, Packages: packages,
			Droplets: downloads, Cache: cache, Supervisor: a.supervisor, Crashes: a.crashes,
			Routes: a.registrar, Drains: a.drains, Runner: filepath.Dir(a.node.Runner), Log: a.log,
		}),
		Supervision: activities.NewSupervision(activities.SupervisionDeps{
			Supervisor: a.supervisor, Packages: packages, Droplets: downloads, Crashes: a.crashes, Temporal: a.temporal,
			Advertisement: a.advertisement(),
			OrphanReap:    a.node.Intervals.OrphanReap, DropletGC: a.node.Intervals.DropletGC, Log: a.log,
		}),
	}
}
