package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// RunInstance is the life of one instance. Where its input names no node it finds one for itself; else room is reserved
// for it there. It ends when nothing of the instance is left on the node; how the instance ended is its result, and no
// failure of the workflow.
//
// It hears api.SignalStopInstance, api.SignalInstanceExited, api.SignalInstanceUnhealthy, api.SignalNodeLost,
// api.SignalInstanceReadiness, api.SignalResumeInstance, api.SignalEvacuateInstance and api.SignalUpdateInstance, and
// answers api.QueryInstance, api.QueryStart and api.QueryRunning. A cancelled one stops its instance. One whose instance
// runs continues as new when Temporal suggests it.
func RunInstance(ctx workflow.Context, in api.InstanceInput) (api.InstanceStatus, error) {
	i, err := newInstance(ctx, in)
	if err != nil {
		return api.InstanceStatus{}, err
	}
	i.listen(ctx)
	i.speak(ctx)
	i.route(ctx)
	err = i.run(ctx) // before its status is taken for the result
	return i.status, err
}

// instance is what a run of RunInstance knows.
type instance struct {
	in      api.InstanceInput
	status  api.InstanceStatus
	created activities.CreateResult
	// job is the app's in its container, 0 where the node's worker did not say.
	job uint32

	// What was heard that ends the instance; each nil or false until it was.
	exit *api.InstanceExit
	stop *api.StopInstance
	lost bool
	// lookedAt is when the node has found last what its start says of the instance's readiness, by the node's clock.
	lookedAt time.Time
	// told is set when the owner knows already that the instance runs.
	told bool
	// early is what nodes have said before the instance had one.
	early []nodeSaid

	// What was heard that does not, in order of arrival: what the instance is to do about it.
	heard []func(workflow.Context)
	// evacuation is nil until the instance is to be replaced elsewhere, bailOut when it then ends in any case; zero is
	// never.
	evacuation *api.EvacuateInstance
	bailOut    time.Time

	// rerouted is set while the node's worker does not know of the latest routes, routing while it is told of some.
	rerouted, routing bool

	// unsent are what the owner is still to hear of, in order.
	unsent []api.InstanceStatus
}

func newInstance(ctx workflow.Context, in api.InstanceInput) (*instance, error) {
	now := workflow.Now(ctx)
	i := &instance{in: in, status: api.InstanceStatus{
		InstanceID: in.InstanceID,
		AppID:      in.Message.AppID,
		Version:    in.Message.Version,
		Index:      in.Message.Index,
		Node:       in.Node,
		State:      api.StateBorn,
		Since:      now,
		Changes:    []api.StateChange{{State: api.StateBorn, At: now}},
		FilesURL:   in.FilesURL,
	}}
	i.restore()
	if err := i.answer(ctx); err != nil {
		return nil, err
	}
	if in.InstanceID == "" {
		return nil, api.Final(api.ErrInvalidRequest, "an instance needs an id", nil)
	}
	return i, in.Message.ValidateStaged()
}

// restore takes over what the last run has left.
func (i *instance) restore() {
	left := i.in.Run
	if left == nil {
		return
	}
	i.status = left.Status
	if i.status.Rerouted = i.status.Rerouted || len(left.Status.URIs) > 0; i.status.Rerouted {
		i.status.URIs = i.in.Message.URIs
	}
	i.created = activities.CreateResult{
		HostPort: left.HostPort, ContainerPort: left.ContainerPort, Address: left.Status.Address,
	}
	i.job = left.Job
	i.evacuation, i.bailOut = left.Evacuation, left.BailOut
}

// next is the input of the run that continues this one.
func (i *instance) next() api.InstanceInput {
	in, status := i.in, i.status
	status.URIs = nil // The message has them.
	in.Run = &api.InstanceRun{
		Status: status, HostPort: i.created.HostPort, ContainerPort: i.created.ContainerPort, Job: i.job,
		Evacuation: i.evacuation, BailOut: i.bailOut,
	}
	return in
}

func (i *instance) answer(ctx workflow.Context) error {
	err := api.QueryInstance.Handle(ctx, func() (api.InstanceStatus, error) { return i.status, nil })
	if err != nil {
		return err
	}
	err = api.QueryStart.Handle(ctx, func() (api.InstanceStart, error) { return api.InstanceStart{Digest: i.in.Digest}, nil })
	if err != nil {
		return err
	}
	return api.QueryRunning.Handle(ctx, func() (api.RunningInstance, error) { return i.running(), nil })
}

// running is what the node's worker has to know.
func (i *instance) running() api.RunningInstance {
	m := i.in.Message
	return api.RunningInstance{
		Status: i.status, HostPort: i.created.HostPort, ContainerPort: i.created.ContainerPort, Job: i.job,
		Liveness: m.Liveness(), Readiness: m.Readiness(), URIs: m.URIs, Limits: m.Limits,
		LogDrains: m.LogDrains(),
	}
}

func (i *instance) listen(ctx workflow.Context) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		selector := workflow.NewSelector(ctx)
		ended := func(exit api.InstanceExit) {
			if i.exit == nil { // The first reason is the reason.
				i.exit = &exit
			}
		}
		api.SignalInstanceExited.OnReceive(ctx, selector, ended)
		api.SignalInstanceUnhealthy.OnReceive(ctx, selector, ended)
		api.SignalStopInstance.OnReceive(ctx, selector, func(stop api.StopInstance) {
			i.concern(stop.Node, func() { i.stop = &stop })
		})
		api.SignalNodeLost.OnReceive(ctx, selector, func(lost api.NodeLost) {
			i.concern(lost.Node, func() { i.lost = true })
		})
		api.SignalInstanceReadiness.OnReceive(ctx, selector, func(r api.InstanceReadiness) {
			i.do(func(ctx workflow.Context) { i.readied(ctx, r) })
		})
		api.SignalResumeInstance.OnReceive(ctx, selector, func(r api.ResumeInstance) {
			i.do(func(ctx workflow.Context) { i.resume(ctx, r.Found) })
		})
		api.SignalEvacuateInstance.OnReceive(ctx, selector, func(e api.EvacuateInstance) {
			i.concern(e.Node, func() { i.do(func(ctx workflow.Context) { i.evacuate(ctx, e) }) })
		})
		api.SignalUpdateInstance.OnReceive(ctx, selector, func(u api.UpdateInstance) {
			i.do(func(ctx workflow.Context) { i.update(ctx, u) })
		})
		for {
			selector.Select(ctx)
		}
	})
}

// allHeard tells whether no signal waits to be received.
func (i *instance) allHeard(ctx workflow.Context) bool {
	waiting := api.SignalInstanceExited.Len(ctx) + api.SignalInstanceUnhealthy.Len(ctx) + api.SignalStopInstance.Len(ctx) +
		api.SignalNodeLost.Len(ctx) + api.SignalInstanceReadiness.Len(ctx) + api.SignalResumeInstance.Len(ctx) +
		api.SignalEvacuateInstance.Len(ctx) + api.SignalUpdateInstance.Len(ctx)
	return waiting == 0
}

// nodeSaid is what a node has said, and what is to be done about it.
type nodeSaid struct {
	node string
	do   func()
}

// concern does what a node's word asks for if the instance is on that node, or the word is nobody's in particular. An
// earlier try of a placement may have left room booked elsewhere: that node's troubles are none of the instance's. One
// that is not placed yet keeps the word until it is.
func (i *instance) concern(node string, do func()) {
	switch {
	case node == "" || node == i.in.Node || i.in.Shape == 0:
		do()
	case i.in.Node == "":
		i.early = append(i.early, nodeSaid{node, do})
	}
}

// do keeps what is to be done once the instance runs, in order of arrival.
func (i *instance) do(what func(workflow.Context)) { i.heard = append(i.heard, what) }

// run fails only to continue as new.
func (i *instance) run(ctx workflow.Context) error {
	if i.in.Run == nil {
		if err := i.begin(ctx); err != nil {
			i.end(ctx, i.startFailure(err))
			return nil
		}
	} else {
		workflow.SetCurrentDetails(ctx, i.details())
	}
	if i.live(ctx) {
		return workflow.NewContinueAsNewError(ctx, api.WorkflowRunInstance, i.next())
	}
	i.end(ctx, i.outcome())
	return nil
}

// begin takes the instance from BORN to RUNNING.
func (i *instance) begin(ctx workflow.Context) error {
	if err := i.place(ctx); err != nil {
		return err
	}
	i.become(ctx, api.StateStarting)
	if err := i.start(ctx); err != nil {
		return err
	}
	i.become(ctx, api.StateRunning)
	return nil
}

// live costs nothing until something is heard. It returns when the instance is to end, or goes on in a run that
// continues this one.
func (i *instance) live(ctx workflow.Context) (goesOn bool) {
	for {
		if err := i.awaitNews(ctx); err != nil {
			i.stop = &api.StopInstance{Reason: "the workflow was cancelled"}
		}
		if i.toldToEnd() {
			return false
		}
		for len(i.heard) > 0 {
			next := i.heard[0]
			i.heard = i.heard[1:]
			next(ctx)
		}
		if !i.bailOut.IsZero() && !workflow.Now(ctx).Before(i.bailOut) {
			i.stop = &api.StopInstance{Reason: "its node was evacuated, and nothing replaced it in time", TellOwner: true}
			return false
		}
		if settled(ctx, func() bool { return i.mayContinue(ctx) }) {
			return true
		}
	}
}

// mayContinue tells whether a new run is due and nothing is in hand: what was heard, and what others are being told,
// would be lost.
func (i *instance) mayContinue(ctx workflow.Context) bool {
	return i.in.Shape > 0 && workflow.GetInfo(ctx).GetContinueAsNewSuggested() && ctx.Err() == nil && !i.toldToEnd() &&
		len(i.heard) == 0 && len(i.unsent) == 0 && !i.rerouted && !i.routing && i.allHeard(ctx)
}

func (i *instance) awaitNews(ctx workflow.Context) error {
	news := func() bool { return i.toldToEnd() || len(i.heard) > 0 || i.mayContinue(ctx) }
	if i.bailOut.IsZero() {
		return workflow.Await(ctx, news)
	}
	_, err := workflow.AwaitWithTimeout(ctx, max(i.bailOut.Sub(workflow.Now(ctx)), 0), news)
	return err
}

// toldToEnd tells whether something was heard that ends the instance.
func (i *instance) toldToEnd() bool { return i.exit != nil || i.stop != nil || i.lost }

// outcome is how an instance ended that ran. One that ended by itself before it could be stopped has an exit of its own.
func (i *instance) outcome() api.InstanceExit {
	switch {
	case i.exit != nil:
		return *i.exit
	case i.stop != nil:
		return api.InstanceExit{Status: -1, Description: api.ExitStopped}
	default:
		return api.InstanceExit{Status: -1, Description: api.ExitNodeLost}
	}
}
