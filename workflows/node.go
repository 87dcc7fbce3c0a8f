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
// api.UpdateEvacuate, api.UpdateForget and api.QueryNode, hears api.SignalAdvertise and api.SignalRelease, and keeps one
// Supervise at work on its node.
//
//	         advertise                    missed heartbeat, worker stops
//	(new) ------------> READY <--------------------------------+
//	                    |   \                                  v
//	   drain, evacuate  |    +---------- advertise -------- SUSPECT
//	                    v                                      | grace passes
//	        DRAINING, EVACUATING                               v
//	                                     advertise <-------- LOST: reservations dropped, instances told
//	                                                           | forget
//	                                                           v
//	                                                         (over)
func Node(ctx workflow.Context, in api.NodeInput) error {
	n := newNode(in)
	if err := n.answer(ctx); err != nil {
		return err
	}
	n.listen(ctx)
	n.goOnEvacuating(ctx)
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
	// evacuations counts those that this run was asked for; evacuated are the instances that are being told of one.
	evacuations int
	evacuated   map[string]bool
	// pause is before the next supervision after one that ended unexpectedly.
	pause time.Duration
	// changed is set when the search attributes no longer say what is.
	changed bool
	// forgotten is set when the node is to have no workflow any more.
	forgotten bool
}

func newNode(in api.NodeInput) *node {
	n := &node{
		id: in.Node, said: in.Advertisement, health: in.State,
		draining: in.Draining, leaving: in.Leaving, evacuating: in.Evacuating, ledger: in.Reservations, pause: supervisePause, changed: true,
		evacuated: map[string]bool{},
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
	reserve := func(ctx workflow.Context, r api.ReserveRequest) (api.ReserveResult, error) {
		return n.reserve(workflow.GetCurrentUpdateInfo(ctx).ID, r), nil
	}
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
	if err := api.UpdateEvacuate.Handle(ctx, evacuate, nil); err != nil {
		return err
	}
	forget := func(_ workflow.Context, _ api.ForgetRequest) (api.NodeStatus, error) {
		n.forgotten = n.health == api.NodeStateLost // Its worker may have been heard of since.
		return n.status(), n.mayForget()
	}
	return api.UpdateForget.Handle(ctx, forget, func(api.ForgetRequest) error { return n.mayForget() })
}

// mayForget refuses to end the workflow of a node that may still have instances.
func (n *node) mayForget() error {
	if n.health == api.NodeStateLost {
		return nil
	}
	return api.Final(api.ErrInvalidRequest,
		fmt.Sprintf("node %q is %s: only one that is %s can be forgotten", n.id, n.state(), api.NodeStateLost), nil)
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
	n.said, n.health, n.changed, n.forgotten = said, api.NodeReady, true, false
	n.pause = supervisePause
}

// run advertises what changed, continues as new when that is due, and ends when the node was forgotten. Supervise does
// not keep it from that: the next run's takes the lease over.
func (n *node) run(ctx workflow.Context) error {
	over := func() bool { return n.forgotten || workflow.GetInfo(ctx).GetContinueAsNewSuggested() }
	mayEnd := func() bool { return over() && n.nothingInHand(ctx) }
	for {
		if err := workflow.Await(ctx, func() bool { return n.changed || mayEnd() }); err != nil {
			return err
		}
		if n.changed {
			n.changed = false
			n.show(ctx)
			if err := workflow.Sleep(ctx, advertisePause); err != nil {
				return err
			}
		}
		switch {
		case !settled(ctx, mayEnd):
		case n.forgotten:
			return nil
		default:
			return workflow.NewContinueAsNewError(ctx, api.WorkflowNode, n.next())
		}
	}
}

// nothingInHand tells whether no update is being answered, and no signal waits to be received or delivered: one that did
// would be lost with the run.
func (n *node) nothingInHand(ctx workflow.Context) bool {
	return workflow.AllHandlersFinished(ctx) && n.telling == 0 &&
		api.SignalAdvertise.Len(ctx) == 0 && api.SignalRelease.Len(ctx) == 0
}

func (n *node) next() api.NodeInput {
	return api.NodeInput{
		Node: n.id, Advertisement: n.said, State: n.health, Reservations: n.ledger,
		Draining: n.draining, Leaving: n.leaving, Evacuating: n.evacuating,
	}
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
		Host: n.said.Host, FilesURL: n.said.FilesURL, Exec: n.said.Exec,
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
