package workflows

import (
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

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

// Node is the ledger of one node, and lives as long as the node does. It answers api.UpdateReserve, api.UpdateDrain,
// api.UpdateEvacuate and api.QueryNode, hears api.SignalAdvertise and api.SignalRelease, and keeps one Supervise at work on its node.
//
//	         advertise                    missed heartbeat, worker stops
//	(new) ------------> READY <--------------------------------+
//	                    |   \                                  v
//	   drain, evacuate  |    +---------- advertise -------- SUSPECT
//	                    v                                      | grace passes
//	        DRAINING, EVACUATING                               v
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
	id     string
	said   api.NodeAdvertisement
	health api.NodeState     // READY, SUSPECT or LOST; what follows is apart
	ledger []api.Reservation // in the order of booking
	// draining is the operator's, until taken back; leaving and evacuating are until the node's next worker.
	draining, leaving, evacuating bool
	// telling counts the signals that are on their way: those of a run that has closed are dropped.
	telling int
	// pause is before the next supervision after one that ended unexpectedly.
	pause time.Duration
	// changed is set when the search attributes no longer say what is.
	changed bool
}

func newNode(in api.NodeInput) *node {
	n := &node{
		id: in.Node, said: in.Advertisement, health: in.State,
		draining: in.Draining, leaving: in.Leaving, evacuating: in.Evacuating, ledger: in.Reservations, pause: supervisePause, changed: true,
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
		n.drain(r)
		return n.status(), nil
	}
	if err := api.UpdateDrain.Handle(ctx, drain, nil); err != nil {
		return err
	}
	evacuate := func(ctx workflow.Context, r api.EvacuateRequest) (api.NodeStatus, error) {
		n.evacuate(ctx, r)
		return n.status(), nil
	}
	return api.UpdateEvacuate.Handle(ctx, evacuate, nil)
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
	if said.Worker != n.said.Worker {
		n.leaving, n.evacuating = false, false
	}
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
		Node: n.id, Advertisement: n.said, State: n.health, Reservations: n.ledger,
		Draining: n.draining, Leaving: n.leaving, Evacuating: n.evacuating,
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
	switch {
	case n.health != api.NodeReady:
		return n.health
	case n.evacuating:
		return api.NodeEvacuating
	case n.draining, n.leaving:
		return api.NodeDraining
	default:
		return api.NodeReady
	}
}

func (n *node) status() api.NodeStatus {
	used, left := n.room()
	return api.NodeStatus{
		Node: n.id, State: n.state(), Zone: n.said.Zone, Stacks: n.said.Stacks,
		Host: n.said.Host, FilesURL: n.said.FilesURL,
		Capacity: n.said.Capacity, Reserved: used, Remaining: left,
		MemoryRatio:  ratio(left.MemoryMB, n.said.Capacity.MemoryMB),
		DiskRatio:    ratio(left.DiskMB, n.said.Capacity.DiskMB),
		Instances:    n.instances(),
		Reservations: slices.Clone(n.ledger),
	}
}

func ratio(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return max(float64(part)/float64(whole), 0)
}

// instances is how many instances of each app are booked.
func (n *node) instances() map[string]int {
	count := map[string]int{}
	for _, r := range n.ledger {
		if r.Kind == api.KindInstance {
			count[r.AppID]++
		}
	}
	return count
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
