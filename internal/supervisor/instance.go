package supervisor

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/healthcheck"
)

// Instance is a running instance that the supervisor looks after.
type Instance struct {
	ID      string
	AppID   string
	Index   int
	Version string
	// URIs are its routes.
	URIs []string
	// Address is host:port, where the node answers for it.
	Address string
	// Ready is unset while no route should lead to it: its readiness check fails, or its liveness check has failed.
	Ready bool
	// ContainerIP and ContainerPort are its own address, which no other machine reaches.
	ContainerIP   string
	ContainerPort uint32
	// ContainerPath is its container's directory on the node.
	ContainerPath string
	Limits        api.Limits
	// LogDrains are where its lines go.
	LogDrains api.LogDrains
	// Liveness and Readiness are its checks, with every default filled in.
	Liveness, Readiness api.HealthCheck
}

// clone shares nothing with i.
func (i Instance) clone() Instance {
	i.URIs = slices.Clone(i.URIs)
	i.LogDrains.Drains = slices.Clone(i.LogDrains.Drains)
	return i
}

// check is none for an instance without a port: what cannot be looked at is taken for well.
func (i Instance) check(c api.HealthCheck) healthcheck.Check {
	if i.ContainerPort == 0 {
		return healthcheck.Check{}
	}
	port := strconv.FormatUint(uint64(i.ContainerPort), 10)
	return healthcheck.Of(c, net.JoinHostPort(i.ContainerIP, port))
}

// settle is how long the end of a job is waited for when its instance's liveness check has failed: an app that dies
// closes its port first, and how it died says more than that it did not answer.
const settle = 500 * time.Millisecond

// LookAfter has the end of a watched instance, and every change of its health, told to its workflow from now on; also an
// end that came before. An instance that is looked after already, or is not watched, is left as it is. Routes that came
// before are newer than its own.
//
// It returns what the workflow is taken to know of the instance's readiness: that of the instance, or, for one that is
// looked after already, what it was told last.
func (s *Supervisor) LookAfter(instance Instance) (ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.watches[instance.ID]
	if !ok {
		return instance.Ready
	}
	if !w.adopt(instance.clone()) {
		return w.toldReady()
	}
	select {
	case s.came <- struct{}{}:
	default:
	}
	s.checks.Add(instance.ID, healthcheck.Checks{
		Liveness:  instance.check(instance.Liveness),
		Readiness: instance.check(instance.Readiness),
		Unready:   !instance.Ready,
		Unhealthy: func(err error) { s.unhealthy(w, err) },
		Readied:   func(ready bool, err error) { s.readied(w, ready, err) },
	})
	select {
	case <-w.done: // Maybe before it was added: nobody else takes it out then.
		s.checks.Remove(instance.ID)
		s.deliver(w)
	default:
	}
	return instance.Ready
}

// routes are an instance's, and its version where that has changed with them.
type routes struct {
	version string
	uris    []string
}

// after is r once it has come after what came before it, which may be nil.
func (r routes) after(before *routes) *routes {
	if before != nil {
		r.version = cmp.Or(r.version, before.version)
	}
	return &r
}

// give has an instance take the routes on.
func (r routes) give(to *Instance) {
	to.URIs = slices.Clone(r.uris)
	to.Version = cmp.Or(r.version, to.Version)
}

// ErrNotResumed is the error of Route before Resume: an instance that is not known may be one that is still to be looked for.
var ErrNotResumed = errors.New("the node's instances are not looked after yet")

// Route gives an instance that is looked after other routes, and another version where that is not empty. One that is
// looked for takes them on when it is found. One that is not known has ended, unless that cannot be known yet: then it
// fails with ErrNotResumed, and is to be called again.
func (s *Supervisor) Route(instance, version string, uris []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := routes{version, uris}
	if w, ok := s.watches[instance]; ok {
		w.route(to)
	} else if one, ok := s.searches[instance]; ok {
		one.routes = to.after(one.routes)
	} else if !s.resumed {
		return ErrNotResumed
	}
	return nil
}

// Came has something in it when instances are looked after that were not when it was last read. It is one reader's.
func (s *Supervisor) Came() <-chan struct{} { return s.came }

// Instances are those that are looked after and have not ended, by app and index.
func (s *Supervisor) Instances() []Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Instance
	for _, w := range s.watches {
		if instance, ok := w.lookedAfter(); ok {
			all = append(all, instance)
		}
	}
	slices.SortFunc(all, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.AppID, b.AppID), cmp.Compare(a.Index, b.Index), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// unhealthy is called by the checks, whose rule it is not to call them.
func (s *Supervisor) unhealthy(w *Watch, err error) {
	s.log.Warn("liveness check failed", "instance", w.instance, "error", err)
	s.running.Go(func() {
		settled := time.NewTimer(settle)
		defer settled.Stop()
		select {
		case <-w.done:
		case <-w.ctx.Done():
		case <-settled.C:
			w.conclude(outcome{api.SignalInstanceUnhealthy, api.InstanceExit{
				Status: unknownStatus, Description: api.ExitUnhealthy,
			}})
			s.deliver(w)
		}
	})
}

// readied is called by the checks, whose rule it is not to call them.
func (s *Supervisor) readied(w *Watch, ready bool, err error) {
	if ready {
		s.log.Info("readiness regained", "instance", w.instance)
	} else {
		s.log.Warn("readiness lost", "instance", w.instance, "error", err)
	}
	w.setReady(ready)
	s.deliver(w)
}
