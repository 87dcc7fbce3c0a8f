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
// answers api.QueryInstance and api.QueryRunning. A cancelled one stops its instance.
func RunInstance(ctx workflow.Context, in api.InstanceInput) (api.InstanceStatus, error) {
	i, err := newInstance(ctx, in)
	if err != nil {
		return api.InstanceStatus{}, err
	}
	i.listen(ctx)
	i.speak(ctx)
	i.route(ctx)
	i.run(ctx)
	return i.status, nil
}

// instance is what a run of RunInstance knows.
type instance struct {
	in      api.InstanceInput
	status  api.InstanceStatus
	created activities.CreateResult

	// What was heard that ends the instance; each nil or false until it was.
	exit *api.InstanceExit
	stop *api.StopInstance
	lost bool

	// What was heard that does not, in order of arrival: what the instance is to do about it.
	heard []func(workflow.Context)
	// evacuation is nil until the instance is to be replaced elsewhere, bailOut when it then ends in any case; zero is
	// never.
	evacuation *api.EvacuateInstance
	bailOut    time.Time

	// rerouted is set while the node's worker does not know of the latest routes.
	rerouted bool

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
	if err := i.answer(ctx); err != nil {
		return nil, err
	}
	if in.InstanceID == "" {
		return nil, api.Final(api.ErrInvalidRequest, "an instance needs an id", nil)
	}
	return i, in.Message.ValidateStaged()
}

func (i *instance) answer(ctx workflow.Context) error {
	err := api.QueryInstance.Handle(ctx, func() (api.InstanceStatus, error) { return i.status, nil })
	if err != nil {
		return err
	}
	return api.QueryRunning.Handle(ctx, func() (api.RunningInstance, error) { return i.running(), nil })
}

// running is what the node's worker has to know.
func (i *instance) running() api.RunningInstance {
	m := i.in.Message
	return api.RunningInstance{
		Status: i.status, HostPort: i.created.HostPort, ContainerPort: i.created.ContainerPort,
		Liveness: m.Liveness(), Readiness: m.Readiness(), URIs: m.URIs, Limits: m.Limits,
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
		api.SignalStopInstance.OnReceive(ctx, selector, func(stop api.StopInstance) { i.stop = &stop })
		api.SignalNodeLost.OnReceive(ctx, selector, func(api.NodeLost) { i.lost = true })
		api.SignalInstanceReadiness.OnReceive(ctx, selector, func(r api.InstanceReadiness) {
			i.do(func(ctx workflow.Context) { i.readied(ctx, r.Ready) })
		})
		api.SignalResumeInstance.OnReceive(ctx, selector, func(r api.ResumeInstance) {
			i.do(func(ctx workflow.Context) { i.resume(ctx, r.Found) })
		})
		api.SignalEvacuateInstance.OnReceive(ctx, selector, func(e api.EvacuateInstance) {
			i.do(func(ctx workflow.Context) { i.evacuate(ctx, e) })
		})
		api.SignalUpdateInstance.OnReceive(ctx, selector, func(u api.UpdateInstance) {
			i.do(func(ctx workflow.Context) { i.update(ctx, u) })
		})
		for {
			selector.Select(ctx)
		}
	})
}

// do keeps what is to be done once the instance runs, in order of arrival.
func (i *instance) do(what func(workflow.Context)) { i.heard = append(i.heard, what) }

func (i *instance) run(ctx workflow.Context) {
	if err := i.place(ctx); err != nil {
		i.end(ctx, i.startFailure(err))
		return
	}
	i.become(ctx, api.StateStarting)
	if err := i.start(ctx); err != nil {
		i.end(ctx, i.startFailure(err))
		return
	}
	i.become(ctx, api.StateRunning)
	i.live(ctx)
	i.end(ctx, i.outcome())
}

// live costs nothing until something is heard. It returns when the instance is to end.
func (i *instance) live(ctx workflow.Context) {
	for {
		if err := i.awaitNews(ctx); err != nil {
			i.stop = &api.StopInstance{Reason: "the workflow was cancelled"}
		}
		if i.toldToEnd() {
			return
		}
		for len(i.heard) > 0 {
			next := i.heard[0]
			i.heard = i.heard[1:]
			next(ctx)
		}
		if !i.bailOut.IsZero() && !workflow.Now(ctx).Before(i.bailOut) {
			i.stop = &api.StopInstance{Reason: "its node was evacuated, and nothing replaced it in time", TellOwner: true}
			return
		}
	}
}

func (i *instance) awaitNews(ctx workflow.Context) error {
	news := func() bool { return i.toldToEnd() || len(i.heard) > 0 }
	if i.bailOut.IsZero() {
		return workflow.Await(ctx, news)
	}
	_, err := workflow.AwaitWithTimeout(ctx, max(i.bailOut.Sub(workflow.Now(ctx)), 0), news)
	return err
}

// toldToEnd tells whether something was heard that ends the instance.
func (i *instance) toldToEnd() bool { return i.exit != nil || i.stop != nil || i.lost }

// outcome is how an instance ended that ran.
func (i *instance) outcome() api.InstanceExit {
	switch {
	case i.stop != nil:
		return api.InstanceExit{Status: -1, Description: api.ExitStopped}
	case i.exit != nil:
		return *i.exit
	default:
		return api.InstanceExit{Status: -1, Description: api.ExitNodeLost}
	}
}
