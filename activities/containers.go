package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/activity"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/crashes"
	"github.com/durable-dea/dea/internal/drain"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/registrar"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/internal/workspace"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// graceSeconds is the grace time of our containers, in seconds. Warden destroys a container that no connection refers
// to for so long; ours are owned by workflows, which outlive any outage, so it is longer than one: 30 days.
const graceSeconds = 30 * 24 * 60 * 60

// ContainersDeps is what Containers works with.
type ContainersDeps struct {
	Warden     *warden.Client
	Config     *config.Node
	Workspaces *workspace.Store
	// Packages brings what a staging needs here.
	Packages *Packages
	// Droplets brings a droplet here, Cache is where it then lies.
	Droplets   *Droplets
	Cache      *droplets.Store
	Supervisor *supervisor.Supervisor
	// Crashes keeps the logs of instances that crashed.
	Crashes *crashes.Store
	// Routes has routers send an instance no more requests before it stops; nil where there are no routers.
	Routes *registrar.Registrar
	// Drains send what instances write on to their services; nil for nothing of it.
	Drains *drain.Manager
	// Runner is the directory on this node that holds the dea-runner binary.
	Runner string
	Log    hclog.Logger
}

// Containers builds and runs apps in the containers of this node's Warden.
type Containers struct {
	warden     *warden.Client
	config     *config.Node
	workspaces *workspace.Store
	packages   *Packages
	droplets   *Droplets
	cache      *droplets.Store
	supervisor *supervisor.Supervisor
	crashes    *crashes.Store
	routes     *registrar.Registrar
	drains     *drain.Manager
	runner     string
	layering   layering
	log        hclog.Logger
}

// NewContainers makes the activities of one node's containers.
func NewContainers(deps ContainersDeps) *Containers {
	return &Containers{
		warden: deps.Warden, config: deps.Config, workspaces: deps.Workspaces, packages: deps.Packages,
		droplets: deps.Droplets, cache: deps.Cache, supervisor: deps.Supervisor,
		crashes: deps.Crashes, routes: deps.Routes, drains: deps.Drains, runner: deps.Runner, log: deps.Log.Named("containers"),
	}
}

// createTimeout bounds one Create of Warden's.
const createTimeout = 30 * time.Second

// makeContainer has Warden make a container, and waits for the answer although ctx ends: Warden makes the container
// whatever becomes of the question, and whoever then takes it away must find it. Its error is Warden's own.
func (c *Containers) makeContainer(ctx context.Context, request *wardenpb.CreateRequest) error {
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
	defer cancel()
	_, err := c.warden.Create(asking, request)
	return err
}

// destroy ends everything in a container and removes it. One that is gone already is no fault.
func (c *Containers) destroy(ctx context.Context, handle string) error {
	_, err := c.warden.Destroy(ctx, &wardenpb.DestroyRequest{Handle: proto.String(handle)})
	if err != nil && !errors.Is(err, warden.ErrUnknownHandle) {
		return wardenFault("destroy the container", err)
	}
	return nil
}

// linkAppScript makes /app lead to where the app is, as root: in a container of its own nobody else may. A directory of the
// stack's that has the name gives way if it is empty. Where a container is a directory of the machine's, root's home is
// another, and the runner makes the link by itself.
func linkAppScript(target string) string {
	const app = runspec.PathApp
	return `[ "$HOME" = /root ] || exit 0
[ -L ` + app + ` ] || rmdir ` + app + ` 2>/dev/null
[ -e ` + app + ` ] && [ ! -L ` + app + ` ] || ln -sfn ` + target + ` ` + app + "\n"
}

// linkApp makes /app, which apps and buildpacks know, lead to a contract path.
func (c *Containers) linkApp(ctx context.Context, handle, target string) error {
	response, err := c.warden.Run(ctx, &wardenpb.RunRequest{
		Handle: proto.String(handle), Script: proto.String(linkAppScript(target)), Privileged: proto.Bool(true),
	})
	if err != nil {
		return wardenFault("make the link to the app", err)
	}
	if status := response.GetExitStatus(); status != 0 {
		// Most do without it.
		c.log.Warn("a container has no /app", "handle", handle, "status", status, "error", tail(response.GetStderr()))
	}
	return nil
}

// wardenFault is the error of an activity whose request to Warden failed. What Warden refuses it will refuse again; a
// Warden that is away, or an answer that did not come back, may be there the next time.
func wardenFault(doing string, err error) error {
	cause := fmt.Errorf("%s: %w", doing, err)
	var refused *warden.Error
	if errors.As(err, &refused) {
		return api.Final(api.ErrWarden, "the container server refused to "+doing, cause)
	}
	return api.Transient(api.ErrWarden, "the container server is away", cause)
}

// heartbeats are recorded so often within the heartbeat timeout, and at most each leastHeartbeat. Temporal's SDK sends one
// each four fifths of the timeout; when that fails for good, the next that is recorded must still be in time.
const (
	heartbeats     = 8
	leastHeartbeat = time.Second
)

// heartbeat records one each part of the heartbeat timeout until the returned function is called, with what was last
// reported of the context's progress. The first comes after such a part: an activity that is over by then costs Temporal
// none, and most are.
func heartbeat(ctx context.Context) (stop func()) {
	interval := max(activity.GetInfo(ctx).HeartbeatTimeout/heartbeats, leastHeartbeat)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for pause.For(ctx, interval) {
			if progress, moved := currentProgress(ctx); moved {
				activity.RecordHeartbeat(ctx, progress)
			} else {
				activity.RecordHeartbeat(ctx)
			}
		}
	}()
	return func() { cancel(); <-ended }
}
