package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// RunInstance is the life of one instance on the node that has room reserved for it. It ends when nothing of the
// instance is left there; how the instance ended is its result, and no failure of the workflow.
//
// It hears api.SignalStopInstance, api.SignalInstanceExited and api.SignalNodeLost, and answers api.QueryInstance. A
// cancelled one stops its instance.
func RunInstance(ctx workflow.Context, in api.InstanceInput) (api.InstanceStatus, error) {
	i, err := newInstance(ctx, in)
	if err != nil {
		return api.InstanceStatus{}, err
	}
	i.listen(ctx)
	i.speak(ctx)
	i.run(ctx)
	return i.status, nil
}

// instance is what a run of RunInstance knows.
type instance struct {
	in      api.InstanceInput
	status  api.InstanceStatus
	created activities.CreateResult

	// What was heard; each nil or false until it was.
	exit *api.InstanceExit
	stop *api.StopInstance
	lost bool

	// unsent are what the owner is still to hear of, in order.
	unsent []api.InstanceStatus
}

func newInstance(ctx workflow.Context, in api.InstanceInput) (*instance, error) {
	i := &instance{in: in, status: api.InstanceStatus{
		InstanceID: in.InstanceID,
		AppID:      in.Message.AppID,
		Version:    in.Message.Version,
		Index:      in.Message.Index,
		Node:       in.Node,
		State:      api.StateBorn,
		Since:      workflow.Now(ctx),
		FilesURL:   in.FilesURL,
	}}
	err := api.QueryInstance.Handle(ctx, func() (api.InstanceStatus, error) { return i.status, nil })
	if err != nil {
		return nil, err
	}
	err = api.QueryRunning.Handle(ctx, func() (api.RunningInstance, error) { return i.running(), nil })
	if err != nil {
		return nil, err
	}
	if in.InstanceID == "" || in.Node == "" {
		return nil, api.Final(api.ErrInvalidRequest, "an instance needs an id and a node", nil)
	}
	return i, in.Message.ValidateStaged()
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
		api.SignalInstanceExited.OnReceive(ctx, selector, func(exit api.InstanceExit) { i.exit = &exit })
		api.SignalStopInstance.OnReceive(ctx, selector, func(stop api.StopInstance) { i.stop = &stop })
		api.SignalNodeLost.OnReceive(ctx, selector, func(api.NodeLost) { i.lost = true })
		for {
			selector.Select(ctx)
		}
	})
}

// speak tells the owner of one change after the other: two signals that are on their way at once may overtake each
// other. An owner that has closed wants to hear nothing.
func (i *instance) speak(ctx workflow.Context) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for workflow.Await(ctx, func() bool { return len(i.unsent) > 0 }) == nil {
			if err := api.SignalInstanceChanged.SendFrom(ctx, i.in.Owner, i.unsent[0]).Get(ctx, nil); err != nil {
				workflow.GetLogger(ctx).Debug("the owner is gone", "error", err)
			}
			i.unsent = i.unsent[1:]
		}
	})
}

func (i *instance) run(ctx workflow.Context) {
	i.become(ctx, api.StateStarting)
	if err := i.start(ctx); err != nil {
		i.end(ctx, i.startFailure(err))
		return
	}
	i.become(ctx, api.StateRunning)
	if err := workflow.Await(ctx, i.toldToEnd); err != nil {
		i.stop = &api.StopInstance{Reason: "the workflow was cancelled"}
	}
	i.end(ctx, i.outcome())
}

// toldToEnd tells whether something was heard that ends the instance.
func (i *instance) toldToEnd() bool { return i.exit != nil || i.stop != nil || i.lost }

// start runs the start beside what is heard: a stop, or the node's loss, ends it at once. What it leaves behind is
// end's.
func (i *instance) start(ctx workflow.Context) error {
	starting, cancel := workflow.WithCancel(ctx)
	defer cancel()
	var failed error
	done := false
	workflow.Go(starting, func(ctx workflow.Context) {
		failed = i.createAndLaunch(ctx)
		done = true
	})
	err := workflow.Await(ctx, func() bool { return done || i.stop != nil || i.lost })
	switch {
	case err != nil:
		i.stop = &api.StopInstance{Reason: "the workflow was cancelled"}
		return err
	case !done:
		return errInterrupted
	default:
		return failed
	}
}

// errInterrupted ends a start whose instance is no longer wanted, or whose node is no longer there.
var errInterrupted = errors.New("the start was interrupted")

func (i *instance) createAndLaunch(ctx workflow.Context) error {
	in := i.in
	create := onNode(ctx, in.Node, transferTimeout, retryDeaths(), "fetch the droplet, make the container")
	created, err := activities.CreateInstance.Run(create, activities.CreateParams{
		InstanceID: in.InstanceID, Message: in.Message,
	})
	if err != nil {
		return err
	}
	i.created = created
	i.status.Address = created.Address
	launch := onNode(ctx, in.Node, launchTimeout, retryDeaths(), "run the app, wait until it is healthy")
	_, err = activities.LaunchInstance.Run(launch, activities.LaunchParams{
		InstanceID: in.InstanceID, Message: in.Message, Created: created,
	})
	return err
}

// startFailure is how an instance ended that never ran.
func (i *instance) startFailure(err error) api.InstanceExit {
	switch {
	case i.stop != nil:
		return api.InstanceExit{Status: -1, Description: api.ExitStopped}
	case i.lost || nodeGone(err):
		i.lost = true
		return api.InstanceExit{Status: -1, Description: api.ExitNodeLost}
	}
	if exit, ok := api.StartFailure(err); ok {
		return exit
	}
	info := api.Explain(err, api.ErrStartFailed)
	if info.Type == api.ErrStartFailed || info.Type == api.ErrDroplet {
		return api.InstanceExit{Status: -1, Description: info.Message}
	}
	return api.InstanceExit{Status: -1, Description: api.ExitFailedToStart + ": " + info.Message}
}

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

// end takes the instance down, whatever it was told to end by, and gives its room back.
func (i *instance) end(ctx workflow.Context, exit api.InstanceExit) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	// What is heard from now on changes nothing: a stop that comes while a crash is cleaned up is too late.
	stopped := i.stop != nil
	if stopped {
		i.become(ctx, api.StateStopping)
	} else {
		i.status.Exit = &exit
		i.become(ctx, api.StateCrashed)
	}
	if !i.lost {
		i.retire(ctx, stopped)
	}
	released := api.SignalRelease.SendFrom(ctx, api.NodeWorkflowID(i.in.Node),
		api.ReleaseRequest{IDs: []string{i.in.InstanceID}})
	if stopped {
		i.status.Exit = &exit
		i.become(ctx, api.StateStopped)
	}
	i.become(ctx, api.StateDeleted)
	if err := released.Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Warn("the node has no ledger to give the room back to", "error", err)
	}
	_ = workflow.Await(ctx, func() bool { return len(i.unsent) == 0 })
}

// retire takes the container down. A node that does not answer is given up: its supervisor destroys, when it comes
// back, what no reservation names.
func (i *instance) retire(ctx workflow.Context, stopped bool) {
	retire := cleaningUp(ctx, i.in.Node, retireTimeout, "take the container down")
	_, err := activities.RetireInstance.Run(retire, activities.RetireParams{
		InstanceID: i.in.InstanceID, Message: i.in.Message, Created: i.created,
		Graceful: stopped && i.exit == nil, KeepLogs: !stopped,
	})
	if err != nil {
		workflow.GetLogger(ctx).Warn("the container is left to the node's supervisor", "error", err)
	}
}

// become enters the next state: the one place where the state changes.
func (i *instance) become(ctx workflow.Context, next api.InstanceState) {
	if !i.status.State.CanBecome(next) {
		panic(fmt.Sprintf("instance %s cannot become %s, it is %s", i.in.InstanceID, next, i.status.State))
	}
	i.status.State, i.status.Since = next, workflow.Now(ctx)
	if err := workflow.UpsertTypedSearchAttributes(ctx, api.SearchState.ValueSet(string(next))); err != nil {
		workflow.GetLogger(ctx).Error("the state is not in the search attributes", "error", err)
	}
	workflow.SetCurrentDetails(ctx, i.details())
	if i.in.Owner != "" && tellsOwner(next) {
		i.unsent = append(i.unsent, i.status)
	}
}

// tellsOwner keeps from the owner what it knows already, having started the instance or told it to stop.
func tellsOwner(s api.InstanceState) bool {
	return s == api.StateRunning || s == api.StateCrashed || s == api.StateStopped
}

func (i *instance) details() string {
	text := fmt.Sprintf("**%s** on node `%s`", i.status.State, i.in.Node)
	if i.status.Address != "" {
		text += fmt.Sprintf(" at `%s`", i.status.Address)
	}
	if i.status.Exit != nil {
		text += fmt.Sprintf("\n\n%s (exit status %d)", i.status.Exit.Description, i.status.Exit.Status)
	}
	return text
}

// nodeGone tells whether an activity failed because no worker of its node took it.
func nodeGone(err error) bool {
	var timeout *temporal.TimeoutError
	return errors.As(err, &timeout) && timeout.TimeoutType() == timeoutScheduleToStart
}
