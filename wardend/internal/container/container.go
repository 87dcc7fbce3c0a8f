package container

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

// Events that a container's Info tells.
const (
	eventOutput = "command exceeded maximum output"
	eventLost   = "the container's init process is gone: its jobs were lost"
	eventMemory = "out of memory"
)

// Container is one container. Its requests may run at the same time.
type Container struct {
	r       *Registry
	log     hclog.Logger
	handle  string
	order   uint64
	request *wardenpb.CreateRequest
	spec    backend.Spec
	grace   uint32
	// b is not to be used before opened is closed; nil after that, it could not be made.
	b      backend.Container
	opened chan struct{}

	// stateMu is held for reading by what needs an active container, while it does its work.
	stateMu sync.RWMutex
	// saveMu guards the record's file, and removing, which is set when nothing is to be written any more.
	saveMu   sync.Mutex
	removing bool
	limitMu  sync.Mutex
	// watchMu keeps turning a job's news on and off in the order in which watchers come and go.
	watchMu sync.Mutex

	mu     sync.Mutex
	phase  phase
	state  State
	events []string
	limits backend.Limits
	ports  []portRecord
	netOut []*wardenpb.NetOutRequest
	jobs   map[uint32]*job
	// gone is closed when it is being destroyed, after lastInfo was set.
	gone     chan struct{}
	lastInfo *wardenpb.InfoResponse
	// inside counts the requests that may make something of it; see enter.
	inside sync.WaitGroup
	// refs counts the connections that refer to it; timer is set while there is none, and rounds counts the timers.
	refs   int
	timer  *time.Timer
	rounds int
}

func (r *Registry) newContainer(handle string, req *wardenpb.CreateRequest, order uint64) *Container {
	if req.Rootfs == nil && r.opts.Rootfs != "" {
		req.Rootfs = proto.String(r.opts.Rootfs)
	}
	c := &Container{
		r: r, handle: handle, order: order, log: r.opts.Log.With("handle", handle), request: req,
		spec:  specOf(handle, filepath.Join(r.opts.Depot, containersName, dirName(handle)), req),
		grace: r.opts.GraceTime, phase: phaseCreating, state: StateActive, limits: backend.NoLimits(),
		jobs: map[uint32]*job{}, gone: make(chan struct{}), opened: make(chan struct{}),
	}
	if req.GraceTime != nil {
		c.grace = req.GetGraceTime()
	}
	return c
}

// restore takes over what was written down.
func (c *Container) restore(rec *record) error {
	c.phase, c.state, c.grace, c.limits, c.ports = rec.Phase, rec.State, rec.Grace, rec.Limits, rec.Ports
	for _, event := range rec.Events {
		c.events = append(c.events, string(event))
	}
	for _, raw := range rec.NetOut {
		rule := &wardenpb.NetOutRequest{}
		if err := proto.Unmarshal(raw, rule); err != nil {
			return fmt.Errorf("egress rule: %w", err)
		}
		c.netOut = append(c.netOut, rule)
	}
	if rec.Network == "" {
		return nil
	}
	network, err := netip.ParsePrefix(rec.Network)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	c.spec.Network = network
	return nil
}

// adopt makes true again what a container that was found had from the server: its jobs, ports, rules and limits.
func (c *Container) adopt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	if err := c.adoptJobs(ctx); err != nil {
		return err
	}
	c.takePools()
	c.tellMemory()
	if c.b.Init() == nil {
		return nil
	}
	// One that cannot be had again is no reason to serve none of the containers.
	for _, p := range c.ports {
		c.told("port cannot be opened again", c.b.NetIn(ctx, p.Host, p.Container))
	}
	for _, rule := range c.netOut {
		c.told("egress rule cannot be applied again", c.b.NetOut(ctx, rule))
	}
	c.told("limits cannot be applied again", c.b.Limit(ctx, c.limits))
	if c.currentState() == StateStopped {
		// The earlier server may have died before it told the init so.
		c.r.work.Go(func() {
			if err := c.endProcesses(false); err != nil && c.r.ctx.Err() == nil && !c.isGone() {
				c.log.Error("processes of a stopped container may be left", "error", err)
			}
		})
	}
	return nil
}

// addEvent adds an event unless it is there: as in the original, events are a set. It needs the container's lock.
func (c *Container) addEvent(event string) {
	if !slices.Contains(c.events, event) {
		c.events = append(c.events, event)
	}
}

// takePools takes from the pools what the container has of them already.
func (c *Container) takePools() {
	if c.spec.Network.IsValid() {
		if err := c.r.opts.Networks.Adopt(c.spec.Network); err != nil {
			c.log.Warn("the container's network is not the pool's to give out", "network", c.spec.Network, "error", err)
		}
	}
	c.mu.Lock() // the container's events write it down
	defer c.mu.Unlock()
	for i, p := range c.ports {
		c.ports[i].Pooled = c.r.opts.Ports.Take(p.Host)
	}
}

// told puts an error where the container's owner sees it.
func (c *Container) told(what string, err error) {
	if err == nil {
		return
	}
	c.log.Error(what, "error", err)
	c.mu.Lock()
	c.addEvent(what + ": " + err.Error())
	c.mu.Unlock()
}

func (c *Container) adoptJobs(ctx context.Context) error {
	var jobs []initproc.JobStatus
	var err error
	if init := c.b.Init(); init != nil {
		jobs, err = init.Jobs(ctx)
	} else {
		jobs, err = initproc.ReadJobs(c.b.InitDir())
	}
	if errors.Is(err, initproc.ErrLost) || errors.Is(err, context.DeadlineExceeded) {
		// It has ended, or stopped answering, since it said hello.
		c.lost(err)
		jobs, err = initproc.ReadJobs(c.b.InitDir())
	}
	if err != nil {
		return fmt.Errorf("find jobs: %w", err)
	}
	for _, status := range jobs {
		c.r.sawJob(status.Job)
		c.found(status)
	}
	return nil
}

// sawJob keeps new ids above one that is in use already, should the server's own record be behind.
func (r *Registry) sawJob(id uint32) {
	r.jobsMu.Lock()
	defer r.jobsMu.Unlock()
	r.nextJob = max(r.nextJob, id)
}

func (c *Container) backendEvents() backend.Events {
	return backend.Events{Events: c.initEvents(), OutOfMemory: func() {
		c.r.work.Go(func() {
			<-c.opened
			if c.b != nil && c.r.ctx.Err() == nil {
				c.outOfMemory()
			}
		})
	}}
}

func (c *Container) initEvents() initproc.Events {
	return initproc.Events{
		Ended:  c.ended,
		Output: c.output,
		Lost: func(err error) {
			// The connection's goroutine must not wait for what it is needed for.
			c.r.work.Go(func() {
				// An init can die before who started it has the container in hand.
				<-c.opened
				if c.b != nil && c.r.ctx.Err() == nil && !c.isGone() {
					c.lost(err)
				}
			})
		},
	}
}

// setBackend is called once, with nil when there is nothing.
func (c *Container) setBackend(b backend.Container) {
	c.b = b
	close(c.opened)
}

// lost is called when the init is gone. Nothing can run in the container any more.
func (c *Container) lost(cause error) {
	c.log.Error("the init of the container is gone; the container is stopped", "error", cause)
	ctx, cancel := context.WithTimeout(c.r.ctx, initTimeout)
	defer cancel()
	if err := c.b.EndOrphans(ctx); err != nil {
		c.log.Error("processes of the container may be left", "error", err)
	}
	jobs, err := initproc.ReadJobs(c.b.InitDir())
	if err != nil {
		c.log.Error("exit statuses of the container are lost", "error", err)
	}
	c.mu.Lock()
	first := c.state == StateActive
	c.state = StateStopped
	if first {
		c.events = append(c.events, eventLost)
	}
	for id := range c.jobs {
		jobs = append(jobs, initproc.JobStatus{Job: id, Ended: true, ExitStatus: initproc.ExitKilled})
	}
	c.mu.Unlock()
	for _, status := range jobs {
		c.found(status)
	}
	if err := c.save(); err != nil {
		c.log.Error("state of the container is not kept", "error", err)
	}
}

// initTimeout bounds what an init is asked for that takes no time of its own.
const initTimeout = 30 * time.Second

func (c *Container) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

func (c *Container) closeBackend() {
	if c.b != nil {
		c.b.Close()
	}
}

func (c *Container) currentState() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// enter calls f for a container that is there: whoever destroys it waits for f before anything is removed, so that
// nothing is made for a container that is gone. F must not wait for what the container does.
func (c *Container) enter(f func() error) error {
	c.mu.Lock()
	if c.isGone() {
		c.mu.Unlock()
		return unknownHandle()
	}
	c.inside.Add(1)
	c.mu.Unlock()
	defer c.inside.Done()
	err := f()
	if err != nil && c.isGone() {
		return unknownHandle()
	}
	return err
}

// needActive calls f, as enter does, while the container is active, and keeps it so meanwhile.
func (c *Container) needActive(f func() error) error {
	return c.enter(func() error {
		c.stateMu.RLock()
		defer c.stateMu.RUnlock()
		if state := c.currentState(); state != StateActive {
			return refuse("Container state must be one of '%s', current state is '%s'", StateActive, state)
		}
		return f()
	})
}

// Stop ends the container's processes. Only the first call waits for that.
func (r *Registry) Stop(ctx context.Context, req *wardenpb.StopRequest) (*wardenpb.StopResponse, error) {
	c, err := r.find(req.GetHandle())
	if err != nil {
		return nil, err
	}
	first := c.setStopped()
	if !first && !req.GetKill() {
		return &wardenpb.StopResponse{}, nil
	}
	// It is stopped whether that can be written down or not.
	saved := c.save()
	ended := make(chan error, 1)
	r.work.Go(func() { ended <- c.endProcesses(req.GetKill()) })
	if saved != nil {
		return nil, saved
	}
	if !first || req.GetBackground() {
		return &wardenpb.StopResponse{}, nil
	}
	select {
	case err := <-ended:
		return &wardenpb.StopResponse{}, err
	case <-c.gone:
		return &wardenpb.StopResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Container) setStopped() (first bool) {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	first = c.state != StateStopped
	c.state = StateStopped
	return first
}

func (c *Container) endProcesses(kill bool) error {
	init := c.b.Init()
	if init == nil {
		return nil
	}
	err := init.Stop(c.r.ctx, kill, c.r.opts.StopGrace)
	if errors.Is(err, initproc.ErrLost) {
		return nil // then there is nothing beneath it either
	}
	return err
}
