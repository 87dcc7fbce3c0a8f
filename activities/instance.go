package activities

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/appenv"
	"github.com/durable-dea/dea/internal/drain"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// CreateParams says for which instance to make a container.
type CreateParams struct {
	InstanceID string           `json:"instance_id"`
	Message    api.StartMessage `json:"message"`
}

// CreateResult says where the instance will answer.
type CreateResult struct {
	// HostPort is the port of the node, ContainerPort the one inside. Either may be the same as the other.
	HostPort      uint32 `json:"host_port"`
	ContainerPort uint32 `json:"container_port"`
	// Address is the node's address with HostPort, as host:port.
	Address string `json:"address"`
}

// Create has the droplet fetched and makes the instance's container with everything in it but the app's process.
// The ports it took are its result, so that a later death cannot lose them.
//
// Run twice it takes down what the first run made and makes it anew: nothing of the app's has run in it. Cancelled
// it leaves what there is, for RetireInstance. It heartbeats.
func (c *Containers) Create(ctx context.Context, params CreateParams) (CreateResult, error) {
	start := c.newStart(params.InstanceID, params.Message)
	// From here on the droplet stays on the node, until Retire; see package droplets.
	if err := c.cache.Claim(start.id, start.message.SHA1); err != nil {
		return CreateResult{}, cacheFault("the droplet's use cannot be noted", err)
	}
	droplet := DropletParams{SHA1: start.message.SHA1, URI: start.message.ExecutableURI}
	for tries := 1; ; tries++ {
		err := c.droplets.Await(ctx, droplet)
		if err != nil && !errors.Is(err, droplets.ErrGone) {
			return CreateResult{}, err
		}
		if err == nil {
			err = start.build(ctx)
		}
		if err == nil {
			return start.created, nil
		}
		_, here := c.cache.Has(start.message.SHA1)
		gone := !here || errors.Is(err, droplets.ErrGone)
		if !gone || tries == createTries || ctx.Err() != nil {
			return CreateResult{}, err
		}
		c.log.Warn("a droplet is gone from the node's cache, fetching it again", "sha1", start.message.SHA1, "error", err)
	}
}

// createTries is how often Create has a droplet fetched that then is not there: somebody clears the node's cache.
const createTries = 3

// LaunchParams says which instance to launch in the container that Create made.
type LaunchParams struct {
	InstanceID string           `json:"instance_id"`
	Message    api.StartMessage `json:"message"`
	Created    CreateResult     `json:"created"`
}

// LaunchResult says how an instance is that has been launched.
type LaunchResult struct {
	// Unready is set where the instance asks for a readiness check that does not succeed yet. When it does is told by
	// api.SignalInstanceReadiness.
	Unready bool `json:"unready,omitempty"`
	// LookedAt is when that was so, by the node's clock.
	LookedAt time.Time `json:"looked_at,omitzero"`
	// Job is Warden's id of the app's job in the container; 0 where an earlier worker did not say.
	Job uint32 `json:"job,omitempty"`
}

// Launch runs the app and waits until it is healthy; from then on the supervisor looks after it. It looks once whether
// the app is ready, which it does not wait for. An instance that ends or stays unhealthy fails it with api.ErrStartFailed,
// whose message is the exit description.
//
// Run twice it goes on with the job that the first run spawned; the app's process is never started a second time, nor is a
// hook.
// Cancelled it leaves the container as it is. It heartbeats.
func (c *Containers) Launch(ctx context.Context, params LaunchParams) (LaunchResult, error) {
	start := c.newStart(params.InstanceID, params.Message)
	start.created = params.Created
	if err := start.findOrSpawn(ctx); err != nil {
		return LaunchResult{}, err
	}
	c.drains.Begin(start.running())
	if err := start.awaitHealthy(ctx); err != nil {
		return LaunchResult{}, err
	}
	if err := start.hook(ctx, config.HookAfterStart); err != nil {
		c.log.Warn("hook failed", "hook", config.HookAfterStart, "instance", start.id, "error", err)
	}
	running := start.running()
	running.Ready = start.ready(ctx)
	if err := ctx.Err(); err != nil {
		return LaunchResult{}, err // It may have failed the look, and is of the next attempt.
	}
	at := time.Now() // Before: a change that is found from here on is newer.
	ready := c.supervisor.LookAfter(running)
	c.log.Info("instance started", "instance", start.id, "app", start.message.AppID, "address", start.created.Address,
		"ready", ready)
	return LaunchResult{Unready: !ready, LookedAt: at, Job: start.watch.Job()}, nil
}

// instanceStart is one attempt to start one instance.
type instanceStart struct {
	*Containers
	id      string
	message api.StartMessage
	created CreateResult
	info    *wardenpb.InfoResponse
	watch   *supervisor.Watch
}

func (c *Containers) newStart(id string, message api.StartMessage) *instanceStart {
	return &instanceStart{Containers: c, id: id, message: message}
}

func (s *instanceStart) handle() *string { return proto.String(s.id) }

func (s *instanceStart) inspect(ctx context.Context) error {
	info, err := s.warden.Info(ctx, &wardenpb.InfoRequest{Handle: s.handle()})
	if errors.Is(err, warden.ErrUnknownHandle) {
		return api.Final(api.ErrStartFailed, api.ExitNotDetermined, err)
	}
	if err != nil {
		return wardenFault("look at the container", err)
	}
	s.info = info
	return nil
}

// findOrSpawn ends with a job that is watched: that of an earlier attempt, or one of its own.
func (s *instanceStart) findOrSpawn(ctx context.Context) error {
	launched, err := s.findLaunched(ctx)
	if err != nil || launched {
		return err
	}
	if err := s.hook(ctx, config.HookBeforeStart); err != nil {
		return startFault(err)
	}
	return s.spawn(ctx)
}

// findLaunched looks for the app's job, and waits for others to end first: they are a hook of an attempt whose worker
// died. One without a mark may also be the app's own, an instant before it leaves its mark.
func (s *instanceStart) findLaunched(ctx context.Context) (bool, error) {
	if s.watch = s.supervisor.Watched(s.id); s.watch != nil {
		return true, s.inspect(ctx)
	}
	var last *wardenpb.LinkResponse
	for giveUp := time.Now().Add(2 * hookTimeout); ; {
		if err := s.inspect(ctx); err != nil {
			return false, err
		}
		job, launched := supervisor.Launched(s.info)
		switch {
		case job != 0:
			s.watch = s.supervisor.Watch(s.id, job)
			return true, nil
		case launched && last != nil:
			return false, api.StartFailed(supervisor.Describe(last), errors.New("it ended at once"))
		case launched:
			exit, err := s.supervisor.ExitOnRecord(ctx, s.id)
			if err != nil {
				return false, wardenFault("look at the container", err)
			}
			return false, api.StartFailed(exit, errors.New("it ended while no worker looked"))
		case len(s.info.GetJobIds()) == 0:
			return false, nil
		case time.Now().After(giveUp):
			return false, api.Final(api.ErrStartFailed, api.ExitFailedToStart, errors.New("an earlier hook does not end"))
		}
		var err error
		if last, err = s.linkBriefly(ctx, uint32(s.info.GetJobIds()[0])); err != nil {
			return false, wardenFault("wait for an earlier hook", err)
		}
	}
}

// briefly is how long one job is waited for before its mark is looked for again.
const briefly = 200 * time.Millisecond

// linkBriefly waits for the end of a job for a little while; nil when it has not ended.
func (s *instanceStart) linkBriefly(ctx context.Context, job uint32) (*wardenpb.LinkResponse, error) {
	limited, cancel := context.WithTimeout(ctx, briefly)
	defer cancel()
	response, err := s.warden.Link(limited, &wardenpb.LinkRequest{Handle: s.handle(), JobId: proto.Uint32(job)})
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) || errors.Is(err, warden.ErrNoSuchJob) {
		return nil, nil
	}
	return response, err
}

// startFault is the error of a start whose hook failed: the operator's script is at fault when it ended with another
// status than 0, and the platform, for another try, in all other cases.
func startFault(err error) error {
	var failed *hookError
	if errors.As(err, &failed) {
		return api.Final(api.ErrStartFailed, api.ExitFailedToStart, err)
	}
	return wardenFault("run a hook", err)
}

// build makes the container and everything in it.
func (s *instanceStart) build(ctx context.Context) error {
	layered, err := s.createOnLayer(ctx)
	if err != nil {
		return err
	}
	steps := []func(context.Context) error{s.limit, s.openNetwork}
	if !layered {
		steps = []func(context.Context) error{s.createPlain, s.limit, s.openNetwork, s.linkApp, s.unpack}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// createRequest is for a container that has nothing of the droplet yet.
func (s *instanceStart) createRequest() *wardenpb.CreateRequest {
	return &wardenpb.CreateRequest{
		Handle:     s.handle(),
		GraceTime:  proto.Uint32(graceSeconds),
		BindMounts: append(s.operatorMounts(), readOnly(s.runner, runspec.PathBin)),
	}
}

// createPlain makes a container that is given the droplet to unpack.
func (s *instanceStart) createPlain(ctx context.Context) error {
	droplet, err := s.cache.Dir(s.message.SHA1)
	if err != nil {
		return api.Final(api.ErrDroplet, api.ExitFailedToStart, err)
	}
	request := s.createRequest()
	request.BindMounts = append(request.BindMounts, readOnly(droplet, runspec.PathDroplet))
	if rootfs := s.rootfs(s.message.Stack); rootfs != "" {
		request.Rootfs = proto.String(rootfs)
	}
	if err := s.makeAnew(ctx, request); err != nil {
		return wardenFault("make the container", err)
	}
	return nil
}

// limit bounds what the instance may use. On a layer the disk is what the instance itself writes: the droplet is the node's,
// and counted once in its cache, though one that would not fit into the instance's disk is refused all the same.
func (s *instanceStart) limit(ctx context.Context) error {
	limits := s.message.Limits
	return s.applyLimits(ctx, s.id, containerLimits{
		memoryMB:  limits.MemoryMB,
		diskMB:    limits.DiskMB,
		inodes:    s.config.Instance.DiskInodeLimit,
		shares:    s.config.Instance.CPUShares(limits.MemoryMB),
		bandwidth: s.config.Instance.BandwidthLimit,
	})
}

func (s *instanceStart) openNetwork(ctx context.Context) error {
	opened, err := s.warden.NetIn(ctx, &wardenpb.NetInRequest{Handle: s.handle()})
	if err != nil {
		return wardenFault("open a port", err)
	}
	s.created = CreateResult{HostPort: opened.GetHostPort(), ContainerPort: opened.GetContainerPort()}
	s.created.Address = net.JoinHostPort(s.config.LocalRoute, strconv.FormatUint(uint64(opened.GetHostPort()), 10))
	return s.openEgress(ctx, s.id, s.message.EgressNetworkRules)
}

func (s *instanceStart) linkApp(ctx context.Context) error {
	return s.Containers.linkApp(ctx, s.id, runspec.PathInstanceApp)
}

func (s *instanceStart) unpack(ctx context.Context) error {
	response, err := s.warden.Run(ctx, &wardenpb.RunRequest{
		Handle: s.handle(),
		Script: proto.String(runspec.RunnerScript(nil, "unpack")),
	})
	if err != nil {
		return wardenFault("unpack the droplet", err)
	}
	if status := response.GetExitStatus(); status != 0 {
		return api.Final(api.ErrStartFailed, api.ExitFailedToStart,
			fmt.Errorf("unpacking the droplet ended with %d: %s", status, tail(response.GetStderr())))
	}
	return nil
}

func (s *instanceStart) spawn(ctx context.Context) error {
	exports, err := s.exports()
	if err != nil {
		return err
	}
	arguments := []string{
		"launch",
		"--log-rate", strconv.FormatInt(s.config.Instance.LogRate, 10),
		"--log-burst", strconv.FormatInt(s.config.Instance.LogBurst, 10),
	}
	if s.message.StartCommand != "" {
		arguments = append(arguments, "--command", s.message.StartCommand)
	}
	response, err := s.warden.Spawn(ctx, &wardenpb.SpawnRequest{
		Handle:        s.handle(),
		Script:        proto.String(runspec.RunnerScript([]string{runspec.ClaimLaunch, s.drainNotes(), exports}, arguments...)),
		DiscardOutput: proto.Bool(true),
		Rlimits:       s.rlimits(),
	})
	if err != nil {
		return wardenFault("start the app", err)
	}
	s.watch = s.supervisor.Watch(s.id, response.GetJobId())
	return nil
}

// drainNotes are the lines of bash that tell the app's owner in its log of drains that get nothing.
func (s *instanceStart) drainNotes() string {
	var notes []string
	for _, refused := range drain.Refused(s.message.LogDrains()) {
		notes = append(notes, noteInLog("[dea] "+refused))
	}
	return strings.Join(notes, "\n")
}

func (s *instanceStart) rlimits() *wardenpb.ResourceLimits {
	return warden.Limits(s.message.Limits.FDs, s.config.Instance.NProc)
}

// exports are the lines of bash that set the instance's environment.
func (s *instanceStart) exports() (string, error) {
	vars, err := appenv.Instance(s.message, appenv.Location{
		InstanceID:    s.id,
		HostIP:        s.config.LocalRoute,
		HostPort:      s.created.HostPort,
		ContainerPort: s.created.ContainerPort,
		StartedAt:     time.Now(),
	})
	if err != nil {
		return "", api.Final(api.ErrInvalidRequest, api.ExitFailedToStart, err)
	}
	return appenv.Script(vars), nil
}
