package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

const (
	// resumers is how many instances are looked for at once.
	resumers = 8
	// searchTimeout bounds one question about one instance: Temporal and Warden answer in milliseconds, or are away.
	searchTimeout = 5 * time.Second
	// resumePatience is how long Resume waits for the first look for everyone. What takes longer goes on without it.
	resumePatience = 3 * time.Second
	// silentPause is the longest between two questions to a workflow that does not answer although Temporal does: its code
	// fails, and somebody has to mend that. Each question costs the workers a try.
	silentPause = 30 * time.Second
)

// errSilent: an instance's workflow does not answer, although Temporal does.
var errSilent = errors.New("its workflow does not answer")

// search looks for one instance until it is known what has become of it.
type search struct {
	reservation api.Reservation
	ctx         context.Context //nolint:containedctx // the search's own life, which is longer than its caller's
	cancel      context.CancelFunc
	// first is closed after the first look.
	first chan struct{}
	// routes are those that came while it was looked for, nil when none did; guarded by Supervisor.mu.
	routes *routes
	// said is set when the workflow was told that its instance is looked for.
	said bool
}

// Resume looks again after every instance of the ledger whose workflow believes it to run: it links the job, makes the
// checks, and tells the workflow that it was found, or how it ended. One that cannot be looked for now, since Warden or
// Temporal is away, has its workflow told so and is looked for until it can be: Resume does not wait for it. An instance that
// starts is left to StartInstance, which finds its job for itself.
//
// It fails only when ctx ends. Run twice it looks for nothing that is looked after, or looked for, already.
func (s *Supervisor) Resume(ctx context.Context, ledger api.NodeStatus) error {
	patience := time.NewTimer(resumePatience)
	defer patience.Stop()
	var begun []*search
	for _, r := range ledger.Reservations {
		if r.Kind != api.KindInstance {
			continue
		}
		if found := s.search(r); found != nil {
			begun = append(begun, found)
		}
	}
	s.mu.Lock()
	s.resumed = true
	s.mu.Unlock()
	for _, one := range begun {
		select {
		case <-one.first:
		case <-patience.C:
			s.log.Warn("looking for instances takes long; it goes on", "instances", len(begun))
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// search begins to look for an instance, or finds the search that does; nil for an instance that is looked after.
func (s *Supervisor) search(r api.Reservation) *search {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watches[r.ID]; w != nil && w.isAdopted() {
		return nil
	}
	if one := s.searches[r.ID]; one != nil {
		return one
	}
	one := &search{reservation: r, first: make(chan struct{})}
	one.ctx, one.cancel = context.WithCancel(s.ctx)
	s.searches[r.ID] = one
	s.running.Go(func() { s.searchOn(one) })
	return one
}

// endSearch leaves alone one that took its place.
func (s *Supervisor) endSearch(one *search) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.cancel()
	if s.searches[one.reservation.ID] == one {
		delete(s.searches, one.reservation.ID)
	}
}

// searchOn looks until it is known what has become of the instance. No more than resumers look at once; a pause between
// two looks keeps nobody out.
func (s *Supervisor) searchOn(one *search) {
	var first sync.Once
	looked := func() { first.Do(func() { close(one.first) }) }
	defer looked()
	defer s.endSearch(one) // Before: who comes after the search must not find it.
	for wait := firstPause; ; wait *= 2 {
		select {
		case s.resumers <- struct{}{}:
		case <-one.ctx.Done():
			return
		}
		err := s.searchOnce(one)
		<-s.resumers
		if err == nil || one.ctx.Err() != nil {
			return
		}
		looked()
		if wait == firstPause {
			s.log.Warn("an instance cannot be found yet, looking on", "instance", one.reservation.ID, "error", err)
		}
		wait = min(wait, longestWait(err))
		if !pause.For(one.ctx, wait) {
			return
		}
	}
}

func longestWait(err error) time.Duration {
	if errors.Is(err, errSilent) {
		return silentPause
	}
	return longestPause
}

// searchOnce looks once. Without an error it is known what has become of the instance, and its workflow has been told.
//
// The workflow is asked first: an instance that it believes to run must have a job, where one that starts may get it
// between the two looks. A workflow that does not answer keeps no job from being linked.
func (s *Supervisor) searchOnce(one *search) error {
	ctx, cancel := context.WithTimeout(one.ctx, searchTimeout)
	defer cancel()
	r := one.reservation
	running, err := api.QueryRunning.Ask(ctx, s.temporal, r.Workflow)
	if isNotFound(err) || err == nil && !s.believedToRun(running.Status) {
		return nil // Reap gives the reservation back, or StartInstance and RetireInstance have it in hand.
	}
	info, away := s.inspect(one)
	// It was launched, or its workflow would not believe it to run; the mark that says so is the app's to delete.
	job := appJob(running, info)
	if job != 0 && !s.watchFound(one, job) {
		return nil // It is being taken down.
	}
	switch {
	case err != nil:
		return s.noAnswer(one, err)
	case away != nil:
		return errors.Join(away, s.sayMissed(ctx, one))
	case job != 0:
		return s.found(ctx, one, running, info)
	default:
		return s.foundEnded(ctx, r, running)
	}
}

// believedToRun tells whether a workflow believes its instance to run here. A reservation of an instance that lives on
// another node is left of a placement that tried this one before.
func (s *Supervisor) believedToRun(status api.InstanceStatus) bool {
	switch status.State {
	case api.StateRunning, api.StateResuming, api.StateEvacuating:
		return status.Node == s.node
	default:
		return false
	}
}

// noAnswer tells a Temporal that is away, which comes back by itself, from a workflow that does not answer.
func (s *Supervisor) noAnswer(one *search, err error) error {
	err = fmt.Errorf("ask its workflow: %w", err)
	ctx, cancel := context.WithTimeout(one.ctx, searchTimeout)
	defer cancel()
	if _, away := s.standing(ctx, one.reservation.Workflow); away != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errSilent, err)
}

// inspect asks Warden for the container; nil for one that is not there.
func (s *Supervisor) inspect(one *search) (*wardenpb.InfoResponse, error) {
	ctx, cancel := context.WithTimeout(one.ctx, searchTimeout)
	defer cancel()
	info, err := s.warden.Info(ctx, &wardenpb.InfoRequest{Handle: proto.String(one.reservation.ID)})
	if err != nil && !errors.Is(err, warden.ErrUnknownHandle) {
		return nil, fmt.Errorf("look for its container: %w", err)
	}
	return info, nil
}

// watchFound links the job, unless the search was called off.
func (s *Supervisor) watchFound(one *search, job uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.ctx.Err() != nil {
		return false
	}
	s.watch(one.reservation.ID, job)
	return true
}

// sayMissed tells the workflow once that its instance is looked for.
func (s *Supervisor) sayMissed(ctx context.Context, one *search) error {
	if one.said {
		return nil
	}
	err := s.signalResume(ctx, one.reservation, false)
	one.said = err == nil
	return err
}

func (s *Supervisor) found(ctx context.Context, one *search, running api.RunningInstance, info *wardenpb.InfoResponse) error {
	r := one.reservation
	if err := s.signalResume(ctx, r, true); err != nil {
		return err
	}
	s.LookAfter(asFound(r.ID, running, info))
	s.log.Info("instance found again", "instance", r.ID, "app", r.AppID, "index", r.Index)
	return nil
}

// asFound is an instance as its workflow and its container, which may be nil, say.
func asFound(id string, running api.RunningInstance, info *wardenpb.InfoResponse) Instance {
	status := running.Status
	return Instance{
		ID: id, AppID: status.AppID, Index: status.Index, Version: status.Version, URIs: running.URIs,
		Address: status.Address, Ready: !status.Unready,
		ContainerIP: info.GetContainerIp(), ContainerPort: running.ContainerPort, ContainerPath: info.GetContainerPath(),
		Limits: running.Limits, LogDrains: running.LogDrains, Liveness: running.Liveness, Readiness: running.Readiness,
	}
}

func (s *Supervisor) signalResume(ctx context.Context, r api.Reservation, found bool) error {
	err := api.SignalResumeInstance.Send(ctx, s.temporal, r.Workflow, api.ResumeInstance{Found: found})
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("tell its workflow: %w", err)
	}
	return nil
}

// foundEnded tells how an instance ended that is no longer there.
func (s *Supervisor) foundEnded(ctx context.Context, r api.Reservation, running api.RunningInstance) error {
	exit, err := s.ExitOnRecord(ctx, r.ID)
	if err != nil {
		return err
	}
	s.log.Warn("instance ended while no worker looked", "instance", r.ID, "app", r.AppID, "index", r.Index)
	for _, watcher := range s.watchers {
		watcher.Gone(asFound(r.ID, running, nil))
	}
	return s.signalEnd(ctx, r.ID, outcome{api.SignalInstanceExited, exit})
}
