package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// end takes the instance down, whatever it was told to end by, and gives its room back.
func (i *instance) end(ctx workflow.Context, exit api.InstanceExit) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	// What is heard from now on changes nothing: a stop that comes while a crash is cleaned up is too late.
	stopped := i.stop != nil
	begun := i.status.State != api.StateBorn
	if stopped {
		i.become(ctx, api.StateStopping)
	} else {
		i.status.Exit = &exit
		i.become(ctx, api.StateCrashed)
	}
	if begun && !i.lost {
		i.retire(ctx, stopped)
	}
	var released workflow.Future
	if i.in.Node != "" {
		released = api.SignalRelease.SendFrom(ctx, api.NodeWorkflowID(i.in.Node),
			api.ReleaseRequest{IDs: []string{i.in.InstanceID}})
	}
	if stopped {
		i.status.Exit = &exit
		i.become(ctx, api.StateStopped)
	}
	i.become(ctx, api.StateDeleted)
	if released != nil {
		if err := released.Get(ctx, nil); err != nil {
			workflow.GetLogger(ctx).Warn("the node has no ledger to give the room back to", "error", err)
		}
	}
	_ = workflow.Await(ctx, func() bool { return len(i.unsent) == 0 })
}

// retire takes the container down, within retireLimit in all. A node that does not answer is given up: its supervisor
// destroys, when it comes back, what no reservation names.
func (i *instance) retire(ctx workflow.Context, stopped bool) {
	retire := cleaningUp(ctx, i.in.Node, retireTimeout, "take the container down")
	_, err := askTwice(workflow.WithScheduleToCloseTimeout(retire, retireLimit), activities.RetireInstance,
		activities.RetireParams{
			InstanceID: i.in.InstanceID, Message: i.in.Message, Created: i.created,
			Graceful: stopped && i.exit == nil, KeepLogs: !stopped,
		})
	if err != nil {
		workflow.GetLogger(ctx).Warn("the container is left to the node's supervisor", "error", err)
	}
}
