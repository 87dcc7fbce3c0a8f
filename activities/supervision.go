package activities

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/activity"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/crashes"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/supervisor"
)

// SupervisionDeps is what Supervision works with.
type SupervisionDeps struct {
	Supervisor *supervisor.Supervisor
	// Packages has the buildpacks that are looked through for those that nobody uses, Droplets the droplets.
	Packages *Packages
	Droplets *Droplets
	// Crashes are looked through for those that are old, or too much for the disk.
	Crashes *crashes.Store
	// Temporal has the node's ledger.
	Temporal LedgerClient
	// Advertisement is what the node says of itself.
	Advertisement api.NodeAdvertisement
	// OrphanReap is the time between two looks for what nobody owns, DropletGC that between two for droplets that are not to
	// be kept.
	OrphanReap, DropletGC time.Duration
	Log                   hclog.Logger
}

// LedgerClient is the part of a Temporal client by which the node's ledger is read and told of the node.
type LedgerClient interface {
	api.Querier
	api.Signaller
}

// diskLook is the time between two looks for crashes that are no longer kept and how full the disk is: it fills fast.
const diskLook = 10 * time.Second

// Supervision is the node's heartbeat.
type Supervision struct{ deps SupervisionDeps }

// NewSupervision makes the activity that holds a node's lease.
func NewSupervision(deps SupervisionDeps) *Supervision { return &Supervision{deps} }

// SuperviseParams names the node.
type SuperviseParams struct {
	Node string `json:"node"`
	// Term is how long to supervise before the workflow is asked again.
	Term time.Duration `json:"term"`
}

// SuperviseResult says why supervision came to an end without fault.
type SuperviseResult struct {
	Reason SuperviseEnd `json:"reason"`
}

// SuperviseEnd is a reason for supervision to end.
type SuperviseEnd string

// The reasons.
const (
	// EndTerm: the term is over.
	EndTerm SuperviseEnd = "term"
	// EndReplaced: a newer run or attempt has taken over.
	EndReplaced SuperviseEnd = "replaced"
	// EndStopping: the worker stops.
	EndStopping SuperviseEnd = "stopping"
)

// Supervise takes the node's lease, links every instance of the ledger again, advertises the node, and then looks for
// what nobody owns, and for crashes that are no longer kept, until its term is over. Of a node that was lost, or
// forgotten, it first takes down what is left.
//
// Run twice, the newer run takes the lease and the older ends without touching anything more. Cancelled it ends; the
// watches of the supervisor live on in the worker. Whatever makes it end is heard at once, and ends what it is at: nothing
// of it goes on when it has returned. It heartbeats.
func (s *Supervision) Supervise(ctx context.Context, params SuperviseParams) (SuperviseResult, error) {
	defer heartbeat(ctx)()
	lease := s.deps.Supervisor.Take()
	working, end := context.WithCancel(ctx)
	var failed error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failed = s.work(working, lease, params.Node)
	}()
	defer func() { end(); <-ended }()
	term := time.NewTimer(params.Term)
	defer term.Stop()
	select {
	case <-lease.Lost():
		return SuperviseResult{EndReplaced}, nil
	case <-activity.GetWorkerStopChannel(ctx):
		return SuperviseResult{EndStopping}, nil
	case <-term.C:
		return SuperviseResult{EndTerm}, nil
	case <-ctx.Done():
		return SuperviseResult{}, ctx.Err()
	case <-ended:
		return SuperviseResult{}, failed
	}
}

// work takes the node over and keeps it clean until ctx ends. It fails only when the node cannot be taken over.
func (s *Supervision) work(ctx context.Context, lease *supervisor.Lease, node string) error {
	if err := s.takeOver(ctx, lease, node); err != nil {
		return err
	}
	// Beside each other: a large droplet that goes keeps nobody from looking for crashes.
	var running sync.WaitGroup
	running.Go(func() { each(ctx, s.deps.OrphanReap, func() { s.look(ctx, node) }) })
	running.Go(func() { each(ctx, s.deps.DropletGC, func() { s.deps.Droplets.Reap(ctx) }) })
	running.Go(func() { each(ctx, diskLook, func() { s.relieve(ctx) }) })
	running.Wait()
	return nil
}

// each does something at once and then each interval, until ctx ends.
func each(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		do()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (s *Supervision) takeOver(ctx context.Context, lease *supervisor.Lease, node string) error {
	ledger, err := api.QueryNode.Ask(ctx, s.deps.Temporal, api.NodeWorkflowID(node))
	if err != nil {
		return api.Transient(api.ErrWarden, "the node's ledger cannot be read", err)
	}
	if ledger, err = s.clear(ctx, lease, ledger); err != nil {
		return api.Transient(api.ErrWarden, "what was lost with the node cannot be taken down", err)
	}
	if err := s.deps.Supervisor.Resume(ctx, ledger); err != nil {
		return api.Transient(api.ErrWarden, "the node's containers cannot be seen", err)
	}
	err = api.SignalAdvertise.Send(ctx, s.deps.Temporal, api.NodeWorkflowID(node), s.deps.Advertisement)
	if err != nil {
		return fmt.Errorf("advertise: %w", err)
	}
	return nil
}

// namesNobody tells whether a ledger knows nothing of what may run on its node: it has given the node up, or is a new one
// that has never heard of it, in the place of one that was forgotten. Until the node is advertised it books nothing there.
func namesNobody(ledger api.NodeStatus) bool {
	return ledger.State == api.NodeStateLost || ledger.Capacity == api.Resources{}
}

// Between two tries to clear a lost node.
const (
	firstClearPause   = 100 * time.Millisecond
	longestClearPause = 5 * time.Second
)

// clear takes down what is left on a node whose reservations were dropped, before its memory is given out again, and gives
// the ledger by which it has done so. It does not give up: a Warden that is away may have all of it running. Before each try the ledger
// is asked again, in which something may be booked by now.
func (s *Supervision) clear(
	ctx context.Context, lease *supervisor.Lease, ledger api.NodeStatus,
) (api.NodeStatus, error) {
	var err error
	for wait := firstClearPause; err != nil || namesNobody(ledger); wait = min(2*wait, longestClearPause) {
		if err == nil {
			err = s.deps.Supervisor.Clear(ctx, lease, ledger)
		}
		if err == nil || errors.Is(err, supervisor.ErrLeaseLost) || ctx.Err() != nil {
			return ledger, err
		}
		s.deps.Log.Warn("nothing is booked on the node, and what is left on it is not taken down yet", "error", err)
		if !pause.For(ctx, wait) {
			return ledger, errors.Join(ctx.Err(), err)
		}
		var now api.NodeStatus
		if now, err = api.QueryNode.Ask(ctx, s.deps.Temporal, api.NodeWorkflowID(ledger.Node)); err == nil {
			ledger = now
		}
	}
	return ledger, nil
}

// look is not worth the lease when it fails: the next one comes.
func (s *Supervision) look(ctx context.Context, node string) {
	s.deps.Packages.Reap(ctx)
	uses := s.deps.Droplets.Uses()
	ledger, err := api.QueryNode.Ask(ctx, s.deps.Temporal, api.NodeWorkflowID(node))
	if err == nil {
		err = errors.Join(s.deps.Droplets.Forget(ctx, uses, ledger), s.deps.Supervisor.Reap(ctx, ledger))
	}
	if err != nil && ctx.Err() == nil {
		s.deps.Log.Warn("looking for orphans failed", "error", err)
	}
}

// relieve removes crashes that are no longer kept, and what the disk has no room for. It is tried again at the next tick.
func (s *Supervision) relieve(ctx context.Context) {
	s.deps.Droplets.Relieve(ctx)
	if err := s.deps.Crashes.Reap(ctx); err != nil && ctx.Err() == nil {
		s.deps.Log.Warn("crashes that are no longer kept could not be removed", "error", err)
	}
}
