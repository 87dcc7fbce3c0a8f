package workflows

import (
	"cmp"

	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// offered is an id of an instance that found no room yet, with what it is to book.
type offered struct {
	id        string
	resources api.Resources
	stack     string
}

// startMissing places what is missing as one batch, and starts what found room. Of large ones it is no more than one task
// may carry: the rest is for the next round, which may be another run's, as each start is a part of the history. It starts
// nothing while the run is to be continued as new.
func (e *evaluation) startMissing(ctx workflow.Context) {
	missing := e.missing(workflow.Now(ctx))
	if len(missing) == 0 || e.isDue(ctx) {
		return
	}
	if e.shape > 0 {
		most := max(maxTaskBytes/taskBytes(e.spec.Message), 1)
		e.changed = e.changed || len(missing) > most
		missing = missing[:min(most, len(missing))]
	}
	inputs := make([]api.InstanceInput, 0, len(missing))
	params := activities.PlaceParams{Spread: e.spread()}
	for _, index := range missing {
		in := e.input(ctx, index)
		reservation := in.Message.Reservation(in.InstanceID)
		reservation.Owner = in.Owner
		inputs = append(inputs, in)
		params.Reservations = append(params.Reservations, reservation)
	}
	apart, _ := workflow.NewDisconnectedContext(ctx)
	answer, err := activities.Place.Run(placing(apart, "choose nodes"), params)
	if err != nil {
		e.refused(api.Explain(err, api.ErrStartFailed).Message, workflow.Now(ctx))
		return
	}
	e.startPlaced(apart, inputs, answer)
}

// input is what an instance at an index is started with. An id that was offered before is offered again only for the
// same: a node that has booked it keeps to what it has booked.
func (e *evaluation) input(ctx workflow.Context, index int) api.InstanceInput {
	message := e.spec.Message
	message.Index = index
	needs := message.Reservation("")
	id := e.ids[index]
	if id.id == "" || e.shape > 0 && (id.resources != needs.Resources || id.stack != needs.Stack) {
		id = offered{instanceID(ctx, e.made), needs.Resources, needs.Stack}
		e.ids[index] = id
		e.made++
	}
	return api.InstanceInput{
		InstanceID: id.id, Message: message, Owner: workflow.GetInfo(ctx).WorkflowExecution.ID,
		Shape: api.InstanceShape,
	}
}

// startPlaced starts what found room, all at once. What is no longer wanted by now gives its room back.
func (e *evaluation) startPlaced(ctx workflow.Context, inputs []api.InstanceInput, answer activities.PlaceResult) {
	var refused api.Constraint
	var starting []*start
	for _, in := range inputs {
		placed, ok := answer.Placed[in.InstanceID]
		if !ok {
			refused = cmp.Or(answer.Refused[in.InstanceID], api.ConstraintMemory)
			continue
		}
		delete(e.ids, in.Message.Index)
		in.Node, in.FilesURL, in.Grace = placed.Node, placed.FilesURL, placed.Grace
		if in.Message.Index >= e.desired() || in.Message.Version != e.version() {
			awaitReleased(ctx, release(ctx, in.Node, in.InstanceID))
			continue
		}
		in.Message.URIs = e.spec.Message.URIs // They may have changed during the placement.
		starting = append(starting, e.start(ctx, in))
	}
	if refused != "" {
		e.refused(api.NotEnough(refused), workflow.Now(ctx))
	} else {
		e.tryAgain()
	}
	awaitStarted(ctx, starting)
}

// start is an instance whose workflow begins.
type start struct {
	member *member
	child  workflow.ChildWorkflowFuture
}

// start begins the life of one instance. That it is over is heard by signal; only one that ends without a word, since
// somebody terminated it, is noticed here.
func (e *evaluation) start(ctx workflow.Context, in api.InstanceInput) *start {
	status := api.InstanceStatus{
		InstanceID: in.InstanceID, AppID: e.id, Version: in.Message.Version, Index: in.Message.Index,
		Node: in.Node, State: api.StateStarting, Since: workflow.Now(ctx), FilesURL: in.FilesURL,
	}
	m := &member{status: status, starting: true}
	e.instances[in.InstanceID] = m
	child := startChild(ctx, in)
	workflow.Go(ctx, func(ctx workflow.Context) {
		err := child.Get(ctx, nil)
		if err == nil {
			return
		}
		ended := status
		ended.State, ended.Since = api.StateCrashed, workflow.Now(ctx)
		ended.Exit = &api.InstanceExit{Status: -1, Description: api.ExitNotDetermined}
		e.hear(ctx, ended)
	})
	return &start{m, child}
}

// awaitStarted waits until the workflows have begun: none before can be told anything.
func awaitStarted(ctx workflow.Context, starting []*start) {
	for _, one := range starting {
		if err := one.child.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
			workflow.GetLogger(ctx).Error("an instance was not started", "error", err)
		}
		one.member.starting = false
	}
}
