package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/crashes"
	"github.com/durable-dea/dea/internal/supervisor"
)

// SupervisionDeps is what Supervision works with.
type SupervisionDeps struct {
	Supervisor *supervisor.Supervisor
	// Packages has the buildpacks that are looked through for those that nobody uses, Droplets the droplets.
	Packages *Packages
	Droplets *Droplets
	// Crashes are looked through for those that are old, or too much for the disk.
	Crashes  *crashes.Store
	Temporal client.Client
	// Advertisement is what the node says of itself.
	Advertisement api.NodeAdvertisement
	// OrphanReap is the time between two looks for what nobody owns, DropletGC that between two for droplets that are not to
	// be kept.
	OrphanReap, DropletGC time.Duration
	Log                   hclog.Logger
}

// crashReap is the time between two looks for crashes that are no longer kept: a disk fills fast.
const crashReap = 10 * time.Second

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
// what nobody owns, and for crashes that are no longer kept, until its term is over.
//
// Run twice, the newer run takes the lease and the older ends without touching anything. Cancelled it ends; the
// watches of the supervisor live on in the worker. It heartbeats each second.
func (s *Supervision) Supervise(ctx context.Context, params SuperviseParams) (SuperviseResult, error) {
	defer heartbeat(ctx)()
	lease := s.deps.Supervisor.Take()
	if err := s.takeOver(ctx, params.Node); err != nil {
		return SuperviseResult{}, err
	}
	s.look(ctx, params.Node)
	s.reapCrashes()
	term := time.NewTimer(params.Term)
	defer term.Stop()
	reap := time.NewTicker(s.deps.OrphanReap)
	defer reap.Stop()
	s.deps.Droplets.Reap(ctx)
	collect := time.NewTicker(s.deps.DropletGC)
	defer collect.Stop()
	old := time.NewTicker(crashReap)
	defer old.Stop()
	for {
		select {
		case <-lease.Lost():
			return SuperviseResult{EndReplaced}, nil
		case <-activity.GetWorkerStopChannel(ctx):
			return SuperviseResult{EndStopping}, nil
		case <-term.C:
			return SuperviseResult{EndTerm}, nil
		case <-ctx.Done():
			return SuperviseResult{}, ctx.Err()
		case <-reap.C:
			s.look(ctx, params.Node)
		case <-collect.C:
			s.deps.Droplets.Reap(ctx)
		case <-old.C:
			s.reapCrashes()
		}
	}
}

func (s *Supervision) takeOver(ctx context.Context, node string) error {
	ledger, err := api.QueryNode.Ask(ctx, s.deps.Temporal, api.NodeWorkflowID(node))
	if err != nil {
		return api.Transient(api.ErrWarden, "the node's ledger cannot be read", err)
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

// look is not worth the lease when it fails: the next one comes.
func (s *Supervision) look(ctx context.Context, node string) {
	s.deps.Packages.Reap()
	uses := s.deps.Droplets.Uses()
	ledger, err := api.QueryNode.Ask(ctx, s.deps.Temporal, api.NodeWorkflowID(node))
	if err == nil {
		err = errors.Join(s.deps.Droplets.Forget(ctx, uses, ledger), s.deps.Supervisor.Reap(ctx, ledger))
	}
	if err != nil && ctx.Err() == nil {
		s.deps.Log.Warn("looking for orphans failed", "error", err)
	}
}

// reapCrashes is tried again at the next tick.
func (s *Supervision) reapCrashes() {
	if err := s.deps.Crashes.Reap(); err != nil {
		s.deps.Log.Warn("crashes that are no longer kept could not be removed", "error", err)
	}
}
