package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// superviseTerm is how long a supervisor works before Node schedules it anew. A term costs six events of history.
const superviseTerm = time.Hour

// Between a supervision that ended unexpectedly and the next: doubling until the node is heard of.
const (
	supervisePause        = time.Second
	longestSupervisePause = 30 * time.Second
)

// advertisePause is how long a change of the free resources may wait for others before it is advertised, so that a
// burst of reservations costs one event.
const advertisePause = time.Second

// Node is the ledger of one node, and lives as long as the node does. It answers api.UpdateReserve, api.UpdateDrain
// and api.QueryNode, hears api.SignalAdvertise and api.SignalRelease, and keeps one Supervise at work on its node.
//
//	         advertise                    missed heartbeat, worker stops
//	(new) ------------> READY <--------------------------------+
//	                    |   \                                  v
//	              drain |    +---------- advertise -------- SUSPECT
//	                    v                                      | grace passes
//	                 DRAINING                                  v
//	                                     advertise <-------- LOST: reservations dropped, instances told
func Node(ctx workflow.Context, in api.NodeInput) error {
	n := newNode(in)
	if err := n.answer(ctx); err != nil {
		return err
	}
	n.listen(ctx)
	workflow.Go(ctx, n.supervise)
	return n.run(ctx)
}

// node is what a run of Node knows.
type node struct {
	id       string
	said     api.NodeAdvertisement
	health   api.NodeState // READY, SUSPECT or LOST; draining is apart
	draining bool
	ledger   []api.Reservation // in the order of booking
	// telling counts the signals that are on their way: those of a run that has closed are dropped.
	telling int
	// pause is before the next supervision after one that ended unexpectedly.
	pause time.Duration
	// changed is set when the search attributes no longer say what is.
	changed bool
}

func newNode(in api.NodeInput) *node {
	n := &node{
		id: in.Node, said: in.Advertisement, health: in.State, draining: in.Draining,
		ledger: in.Reservations, pause: supervisePause, changed: true,
	}
	if n.health == "" {
		n.health = api.NodeSuspect
	}
	return n
}

func (n *node) answer(ctx workflow.Context) error {
	if err := api.QueryNode.Handle(ctx, func() (api.NodeStatus, error) { return n.status(), nil }); err != nil {
		return err
	}
	reserve := func(_ workflow.Context, r api.ReserveRequest) (api.ReserveResult, error) { return n.reserve(r), nil }
	if err := api.UpdateReserve.Handle(ctx, reserve, api.ReserveRequest.Validate); err != nil {
		return err
	}
	drain := func(_ workflow.Context, r api.DrainRequest) (api.NodeStatus, error) {
		n.draining = r.Draining
		n.changed = true
		return n.status(), nil
	}
	return api.UpdateDrain.Handle(ctx, drain, nil)
}

func (n *node) listen(ctx workflow.Context) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		selector := workflow.NewSelector(ctx)
		api.SignalAdvertise.OnReceive(ctx, selector, n.advertised)
		api.SignalRelease.OnReceive(ctx, selector, n.release)
		for {
			selector.Select(ctx)
		}
	})
}

func (n *node) advertised(said api.NodeAdvertisement) {
	n.said, n.health, n.changed = said, api.NodeReady, true
	n.pause = supervisePause
}

// run advertises what changed and continues as new when that is due. Supervise does not keep it from that: the next
// run's takes the lease over.
func (n *node) run(ctx workflow.Context) error {
	for {
		due := func() bool { return workflow.GetInfo(ctx).GetContinueAsNewSuggested() }
		if err := workflow.Await(ctx, func() bool { return n.changed || due() }); err != nil {
			return err
		}
		if n.changed {
			n.changed = false
			n.show(ctx)
			if err := workflow.Sleep(ctx, advertisePause); err != nil {
				return err
			}
		}
		if due() && workflow.AllHandlersFinished(ctx) && n.heardAll(ctx) {
			return workflow.NewContinueAsNewError(ctx, api.WorkflowNode, n.next())
		}
	}
}

// heardAll tells whether no signal waits to be received or delivered: one that did would be lost with the run.
func (n *node) heardAll(ctx workflow.Context) bool {
	return n.telling == 0 && api.SignalAdvertise.Len(ctx) == 0 && api.SignalRelease.Len(ctx) == 0
}

func (n *node) next() api.NodeInput {
	return api.NodeInput{
		Node: n.id, Advertisement: n.said, State: n.health, Reservations: n.ledger, Draining: n.draining,
	}
}

// supervise keeps one Supervise scheduled, and learns from its end how the node is.
func (n *node) supervise(ctx workflow.Context) {
	for ctx.Err() == nil {
		result, err := activities.Supervise.Run(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			TaskQueue:              api.NodeTaskQueue(n.id),
			ScheduleToStartTimeout: n.grace(),
			StartToCloseTimeout:    superviseTerm + time.Minute,
			HeartbeatTimeout:       heartbeatTimeout,
			RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
			Summary:                "supervise the node",
		}), activities.SuperviseParams{Node: n.id, Term: superviseTerm})
		if err == nil && result.Reason == activities.EndTerm {
			continue
		}
		workflow.GetLogger(ctx).Info("supervision ended", "reason", result.Reason, "error", err)
		if nodeGone(err) {
			n.lose(ctx)
		} else {
			n.suspect()
		}
		if workflow.Sleep(ctx, n.pause) != nil {
			return
		}
		n.pause = min(2*n.pause, longestSupervisePause)
	}
}

// grace is how long the node may be without a worker. One that is lost already is only waited for.
func (n *node) grace() time.Duration {
	switch {
	case n.health == api.NodeStateLost:
		return superviseTerm
	case n.said.Grace > 0:
		return n.said.Grace
	default:
		return nodeTimeout
	}
}

// suspect keeps new work off until the node is heard of again.
func (n *node) suspect() {
	if n.health == api.NodeReady {
		n.health, n.changed = api.NodeSuspect, true
	}
}

// lose gives the node up: its instances are told, and nothing is reserved there any more.
func (n *node) lose(ctx workflow.Context) {
	if n.health == api.NodeStateLost {
		return
	}
	lost := n.ledger
	n.health, n.ledger, n.changed = api.NodeStateLost, nil, true
	for _, r := range lost {
		n.telling++
		told := api.SignalNodeLost.SendFrom(ctx, r.Workflow, api.NodeLost{Node: n.id})
		workflow.Go(ctx, func(ctx workflow.Context) {
			if err := told.Get(ctx, nil); err != nil {
				workflow.GetLogger(ctx).Debug("what held room of the lost node is gone already", "error", err)
			}
			n.telling--
		})
	}
}

// reserve books what there is room for. What is booked already under the same id for the same workflow is accepted again.
func (n *node) reserve(request api.ReserveRequest) api.ReserveResult {
	result := api.ReserveResult{
		FilesURL: n.said.FilesURL, Host: n.said.Host, CompletionPatience: n.said.CompletionPatience,
		Refused: map[string]api.Constraint{},
	}
	for _, r := range request.Reservations {
		if r.Kind == api.KindStaging {
			r.Resources.MemoryMB = max(r.Resources.MemoryMB, n.said.StagingMinimum.MemoryMB)
			r.Resources.DiskMB = max(r.Resources.DiskMB, n.said.StagingMinimum.DiskMB)
		}
		if constraint := n.constraint(r); constraint != "" {
			result.Refused[r.ID] = constraint
			continue
		}
		if n.find(r.ID) < 0 {
			n.ledger = append(n.ledger, r)
			n.changed = true
		}
		result.Accepted = append(result.Accepted, r.ID)
	}
	return result
}

// constraint is why a reservation must be refused; empty when it need not be.
func (n *node) constraint(r api.Reservation) api.Constraint {
	_, left := n.room()
	booked := n.find(r.ID)
	switch {
	case booked >= 0 && n.ledger[booked].Workflow != r.Workflow:
		return api.ConstraintTaken
	case booked >= 0:
		return ""
	case n.state() != api.NodeReady, r.Kind == api.KindStaging && n.said.NoStaging:
		return api.ConstraintState
	case !slices.Contains(n.said.Stacks, r.Stack):
		return api.ConstraintStack
	case r.Resources.MemoryMB > left.MemoryMB:
		return api.ConstraintMemory
	case r.Resources.DiskMB > left.DiskMB:
		return api.ConstraintDisk
	default:
		return ""
	}
}

func (n *node) release(request api.ReleaseRequest) {
	for _, id := range request.IDs {
		if at := n.find(id); at >= 0 {
			n.ledger = slices.Delete(n.ledger, at, at+1)
			n.changed = true
		}
	}
}

func (n *node) find(id string) int {
	return slices.IndexFunc(n.ledger, func(r api.Reservation) bool { return r.ID == id })
}

func (n *node) state() api.NodeState {
	if n.health == api.NodeReady && n.draining {
		return api.NodeDraining
	}
	return n.health
}

func (n *node) status() api.NodeStatus {
	used, left := n.room()
	return api.NodeStatus{
		Node: n.id, State: n.state(), Zone: n.said.Zone, Stacks: n.said.Stacks,
		Host: n.said.Host, FilesURL: n.said.FilesURL,
		Capacity: n.said.Capacity, Reserved: used, Remaining: left,
		Reservations: slices.Clone(n.ledger),
	}
}

// room is what is reserved and what is left.
func (n *node) room() (used, left api.Resources) {
	for _, r := range n.ledger {
		used.MemoryMB += r.Resources.MemoryMB
		used.DiskMB += r.Resources.DiskMB
	}
	left.MemoryMB = n.said.Capacity.MemoryMB - used.MemoryMB
	left.DiskMB = n.said.Capacity.DiskMB - used.DiskMB
	return used, left
}

// show makes the search attributes, which are the node's advertisement to placement, and the details say what is.
func (n *node) show(ctx workflow.Context) {
	s := n.status()
	err := workflow.UpsertTypedSearchAttributes(ctx,
		api.SearchState.ValueSet(string(s.State)),
		api.SearchZone.ValueSet(s.Zone),
		api.SearchStacks.ValueSet(s.Stacks),
		api.SearchFreeMemory.ValueSet(s.Remaining.MemoryMB),
		api.SearchFreeDisk.ValueSet(s.Remaining.DiskMB),
	)
	if err != nil {
		workflow.GetLogger(ctx).Error("the node is not advertised", "error", err)
	}
	workflow.SetCurrentDetails(ctx, fmt.Sprintf(
		"**%s**\n\n%d of %d MB memory and %d of %d MB disk reserved, by %d reservations.",
		s.State, s.Reserved.MemoryMB, s.Capacity.MemoryMB, s.Reserved.DiskMB, s.Capacity.DiskMB, len(s.Reservations)))
}
