package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// readied takes in that the instance has lost, or regained, its routes. What was found before the node has last said how
// the instance is, as by a worker that died in its start, is no news.
func (i *instance) readied(ctx workflow.Context, r api.InstanceReadiness) {
	if i.status.Unready == !r.Ready || !r.At.IsZero() && r.At.Before(i.lookedAt) {
		return
	}
	i.status.Unready = !r.Ready
	workflow.SetCurrentDetails(ctx, i.details())
	i.tell()
}

// resume follows the worker that came back: RESUMING while it looks, then what the instance was before.
func (i *instance) resume(ctx workflow.Context, found bool) {
	if i.status.State != api.StateResuming {
		i.become(ctx, api.StateResuming)
	}
	switch {
	case !found:
	case i.evacuation != nil:
		i.become(ctx, api.StateEvacuating)
	default:
		i.become(ctx, api.StateRunning)
	}
}

// evacuate has the instance run on until its owner has replaced it. Told again, it goes on with what it was told first.
func (i *instance) evacuate(ctx workflow.Context, e api.EvacuateInstance) {
	if i.evacuation != nil {
		return
	}
	i.evacuation, i.status.Evacuating = &e, true
	if e.BailOut > 0 {
		i.bailOut = workflow.Now(ctx).Add(e.BailOut)
	}
	if i.status.State == api.StateRunning {
		i.become(ctx, api.StateEvacuating)
	}
}

// update takes on new routes, and another version. The owner, which sent them, has them already.
func (i *instance) update(ctx workflow.Context, u api.UpdateInstance) {
	i.in.Message.URIs, i.status.URIs, i.status.Rerouted = u.URIs, u.URIs, true
	if u.Version != "" && u.Version != i.status.Version {
		i.in.Message.Version, i.status.Version = u.Version, u.Version
		if err := workflow.UpsertTypedSearchAttributes(ctx, api.SearchVersion.ValueSet(u.Version)); err != nil {
			workflow.GetLogger(ctx).Error("the version is not in the search attributes", "error", err)
		}
	}
	i.rerouted = true
	workflow.SetCurrentDetails(ctx, i.details())
}

// route tells the node's worker of new routes, the latest alone where several came at once. It goes on beside the life of
// the instance: a node that is away keeps nobody from stopping it. It waits for its worker however long that takes: one
// that was only cut off is the same when it is back, and asks for nothing.
func (i *instance) route(ctx workflow.Context) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		for workflow.Await(ctx, func() bool { return i.rerouted }) == nil {
			i.rerouted, i.routing = false, true
			_, err := activities.RouteInstance.Run(routing(ctx, i.in.Node), activities.RouteParams{
				InstanceID: i.in.InstanceID, URIs: i.status.URIs, Version: i.status.Version,
			})
			i.routing = false
			if err != nil {
				workflow.GetLogger(ctx).Warn("the node's worker does not know of the new routes", "error", err)
			}
		}
	})
}

// become enters the next state: the one place where the state changes.
func (i *instance) become(ctx workflow.Context, next api.InstanceState) {
	if !i.status.State.CanBecome(next) {
		panic(fmt.Sprintf("instance %s cannot become %s, it is %s", i.in.InstanceID, next, i.status.State))
	}
	now := workflow.Now(ctx)
	i.status.State, i.status.Since = next, now
	if next == api.StateRunning && i.status.RunningSince.IsZero() {
		i.status.RunningSince = now
	}
	i.status.Changes = append(i.status.Changes, api.StateChange{State: next, At: now})
	if len(i.status.Changes) > api.MaxStateChanges {
		// Its birth and start stay, and what happened last.
		i.status.Changes = slices.Delete(i.status.Changes, api.FirstStateChanges, api.FirstStateChanges+1)
	}
	i.list(ctx, next)
	workflow.SetCurrentDetails(ctx, i.details())
	if i.tellsOwner(next) {
		i.tell()
	}
}

// list has the search attribute say the state, unless it began with it.
func (i *instance) list(ctx workflow.Context, state api.InstanceState) {
	listed := i.in.Listed
	i.in.Listed = ""
	if state == listed {
		return
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, api.SearchState.ValueSet(string(state))); err != nil {
		workflow.GetLogger(ctx).Error("the state is not in the search attributes", "error", err)
	}
}

// tellsOwner keeps from the owner what it knows already, having started the instance, told it to stop or heard from the
// node that it runs, and that it is deleted, which follows its end.
func (i *instance) tellsOwner(s api.InstanceState) bool {
	switch s {
	case api.StateBorn, api.StateStarting, api.StateDeleted:
		return false
	case api.StateRunning:
		told := i.told
		i.told = false
		return !told
	case api.StateStopping:
		return i.stop != nil && i.stop.TellOwner
	default:
		return true
	}
}

// tell has the owner hear of the instance as it is now. What has happened before is the instance's own affair, and its routes
// are what the owner has said.
func (i *instance) tell() {
	if i.in.Owner == "" {
		return
	}
	status := i.status
	status.Changes, status.URIs = nil, nil
	i.unsent = append(i.unsent, status)
}

// speak tells the owner of one change after the other: two signals that are on their way at once may overtake each
// other. Of changes that came while an earlier one was on its way, only the last matters. An owner that has closed wants
// to hear nothing.
func (i *instance) speak(ctx workflow.Context) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for workflow.Await(ctx, func() bool { return len(i.unsent) > 0 }) == nil {
			said := len(i.unsent)
			if err := api.SignalInstanceChanged.SendFrom(ctx, i.in.Owner, i.unsent[said-1]).Get(ctx, nil); err != nil {
				workflow.GetLogger(ctx).Debug("the owner is gone", "error", err)
			}
			i.unsent = i.unsent[said:]
		}
	})
}

func (i *instance) details() string {
	text := fmt.Sprintf("**%s**", i.status.State)
	if i.in.Node != "" {
		text += fmt.Sprintf(" on node `%s`", i.in.Node)
	}
	if i.status.Address != "" {
		text += fmt.Sprintf(" at `%s`", i.status.Address)
	}
	if i.status.Unready {
		text += ", not ready: no route leads there"
	}
	if i.evacuation != nil {
		text += "\n\nEvacuated: " + i.evacuation.Reason
	}
	if i.status.Exit != nil {
		text += fmt.Sprintf("\n\n%s (exit status %d)", i.status.Exit.Description, i.status.Exit.Status)
	}
	return text
}
