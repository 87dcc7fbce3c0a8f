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
	gone := true
	if begun && !i.lost {
		gone = i.retire(ctx, stopped)
	}
	var released workflow.Future
	if i.in.Node != "" && (gone || i.in.Shape == 0) {
		released = release(ctx, i.in.Node, i.in.InstanceID)
	}
	if stopped {
		i.status.Exit = &exit
		i.become(ctx, api.StateStopped)
	}
	i.become(ctx, api.StateDeleted)
	if released != nil {
		awaitReleased(ctx, released)
	}
	_ = workflow.Await(ctx, func() bool { return len(i.unsent) == 0 })
}

// retire takes the container down, within retireLimit in all. Where it cannot, as on a node that does not answer, what
// there is stays booked: the node's supervisor gives the room back, with the container, when it finds the workflow at its
// end. A node that is lost meanwhile has nothing booked any more.
func (i *instance) retire(ctx workflow.Context, stopped bool) (gone bool) {
	retire, cancel := workflow.WithCancel(cleaningUp(ctx, i.in.Node, retireTimeout, "take the container down"))
	defer cancel()
	workflow.Go(retire, func(ctx workflow.Context) {
		if workflow.Await(ctx, func() bool { return i.lost && i.in.Shape > 0 }) == nil {
			cancel()
		}
	})
	retire = patient(retire, i.in.Grace)
	_, err := askTwice(workflow.WithScheduleToCloseTimeout(retire, retireLimit), activities.RetireInstance,
		activities.RetireParams{
			InstanceID: i.in.InstanceID, Message: i.in.Message, Created: i.created,
			Graceful: stopped && i.exit == nil, KeepLogs: !stopped || i.exit != nil,
		})
	if err != nil {
		workflow.GetLogger(ctx).Warn("the container is left to the node's supervisor", "error", err)
	}
	return err == nil || i.lost
}
