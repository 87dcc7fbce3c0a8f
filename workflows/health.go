package workflows

import (
	"cmp"

	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// EvaluateHealth keeps one app at its wanted number of instances for as long as the app exists: it starts what is
// missing, stops what is too much, and replaces what has crashed as the restart policy says. A new version is started
// before the old is stopped, index by index, and so is what replaces an instance of an evacuated node.
//
// It answers api.UpdateDesire, api.UpdateScale, api.UpdateRoutes, api.UpdateDelete and api.QueryApp, and hears
// api.SignalInstanceChanged from its instances. It ends when the app was deleted and its last instance is gone; a
// cancelled one deletes its app.
func EvaluateHealth(ctx workflow.Context, in api.AppInput) error {
	e := &evaluation{app: newApp(in), changed: true, ids: map[int]string{}}
	if err := e.answer(ctx); err != nil {
		return err
	}
	e.listen(ctx)
	return e.run(ctx)
}

// evaluation is a run of EvaluateHealth: the app, and what the run has in hand.
type evaluation struct {
	*app
	// changed is set when wanted or actual may have changed since they were compared.
	changed bool
	// made counts the instances that this run made ids for; ids are those of instances that found no room yet, by index:
	// a placement whose outcome is not known is tried again under the same ids, so that it books nothing twice.
	made int
	ids  map[int]string
	// telling counts the signals that are on their way: those of a run that has closed are dropped.
	telling int
}

func (e *evaluation) answer(ctx workflow.Context) error {
	status := func(ctx workflow.Context) api.AppStatus { return e.status(workflow.Now(ctx)) }
	err := api.QueryApp.Handle(ctx, func() (api.AppStatus, error) { return status(ctx), nil })
	if err != nil {
		return err
	}
	desire := func(ctx workflow.Context, spec api.AppSpec) (api.AppStatus, error) {
		e.desire(spec)
		e.changed = true
		return status(ctx), nil
	}
	if err := api.UpdateDesire.Handle(ctx, desire, e.mayDesire); err != nil {
		return err
	}
	scale := func(ctx workflow.Context, request api.ScaleRequest) (api.AppStatus, error) {
		e.scale(request.Instances)
		e.changed = true
		return status(ctx), nil
	}
	if err := api.UpdateScale.Handle(ctx, scale, e.mayScale); err != nil {
		return err
	}
	route := func(ctx workflow.Context, request api.RoutesRequest) (api.AppStatus, error) {
		e.updateInstances(ctx, e.route(request), request)
		e.changed = true
		return status(ctx), nil
	}
	if err := api.UpdateRoutes.Handle(ctx, route, e.mayRoute); err != nil {
		return err
	}
	remove := func(ctx workflow.Context, _ api.DeleteRequest) (api.AppStatus, error) {
		e.deleting, e.changed = true, true
		return status(ctx), nil
	}
	return api.UpdateDelete.Handle(ctx, remove, nil)
}

func (e *evaluation) mayDesire(spec api.AppSpec) error {
	if err := e.mayChange(); err != nil {
		return err
	}
	if spec.Message.AppID != e.id {
		return api.Final(api.ErrInvalidRequest, "the description is of another app", nil)
	}
	return spec.Validate()
}

func (e *evaluation) mayScale(request api.ScaleRequest) error {
	if err := e.mayChange(); err != nil {
		return err
	}
	if e.spec == nil {
		return api.Final(api.ErrInvalidRequest, "the app was never described", nil)
	}
	return request.Validate()
}

func (e *evaluation) mayRoute(request api.RoutesRequest) error {
	if err := e.mayChange(); err != nil {
		return err
	}
	if e.spec == nil {
		return api.Final(api.ErrInvalidRequest, "the app was never described", nil)
	}
	return request.Validate()
}

func (e *evaluation) mayChange() error {
	if e.deleting {
		return api.Final(api.ErrInvalidRequest, "the app is being deleted", nil)
	}
	return nil
}

func (e *evaluation) listen(ctx workflow.Context) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			status := api.SignalInstanceChanged.Receive(ctx)
			e.hear(ctx, status)
		}
	})
}

func (e *evaluation) hear(ctx workflow.Context, status api.InstanceStatus) {
	e.heard(status, workflow.Now(ctx))
	e.changed = true
}

func (e *evaluation) run(ctx workflow.Context) error {
	apart, _ := workflow.NewDisconnectedContext(ctx)
	for {
		e.changed = false
		e.stopSurplus(ctx)
		e.startMissing(ctx)
		workflow.SetCurrentDetails(ctx, e.details(ctx))
		if e.deleting && len(e.instances) == 0 && !e.changed {
			return e.farewell(ctx)
		}
		if e.mayContinueAsNew(ctx) {
			return workflow.NewContinueAsNewError(ctx, api.WorkflowEvaluateHealth, e.next())
		}
		if err := e.awaitChange(ctx); err != nil {
			ctx = apart
			e.deleting = true
		}
	}
}

func (e *evaluation) farewell(ctx workflow.Context) error {
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

func (e *evaluation) mayContinueAsNew(ctx workflow.Context) bool {
	return workflow.GetInfo(ctx).GetContinueAsNewSuggested() && !e.changed && e.telling == 0 &&
		workflow.AllHandlersFinished(ctx) && api.SignalInstanceChanged.Len(ctx) == 0
}

// awaitChange waits until something was heard, or a start that had to wait is due. It fails when the workflow is
// cancelled.
func (e *evaluation) awaitChange(ctx workflow.Context) error {
	now := workflow.Now(ctx)
	heard := func() bool { return e.changed }
	due := e.due(now)
	if due.IsZero() {
		return workflow.Await(ctx, heard)
	}
	_, err := workflow.AwaitWithTimeout(ctx, due.Sub(now), heard)
	return err
}

// stopSurplus tells instances to stop. One that cannot be told has closed, and is gone.
func (e *evaluation) stopSurplus(ctx workflow.Context) {
	for _, m := range e.surplus() {
		m.stopping = true
		id := m.status.InstanceID
		told := api.SignalStopInstance.SendFrom(ctx, api.InstanceWorkflowID(id), api.StopInstance{Reason: e.reason(m)})
		e.tell(ctx, told, func(error) { delete(e.instances, id) })
	}
}

// tell counts a signal until it is delivered, or failed.
func (e *evaluation) tell(ctx workflow.Context, told workflow.Future, failed func(error)) {
	e.telling++
	workflow.Go(ctx, func(ctx workflow.Context) {
		if err := told.Get(ctx, nil); err != nil {
			failed(err)
		}
		e.telling--
		e.changed = true // Continuing as new may have waited for it.
	})
}

// updateInstances has running instances take on new routes. One that cannot be told has closed, and is gone.
func (e *evaluation) updateInstances(ctx workflow.Context, members []*member, request api.RoutesRequest) {
	for _, m := range members {
		told := api.SignalUpdateInstance.SendFrom(ctx, api.InstanceWorkflowID(m.status.InstanceID),
			api.UpdateInstance{Version: request.Version, URIs: request.URIs})
		e.tell(ctx, told, func(err error) {
			workflow.GetLogger(ctx).Debug("an instance with the old routes is gone already", "error", err)
		})
	}
}

func (e *evaluation) reason(m *member) string {
	switch {
	case e.deleting:
		return "the app is deleted"
	case m.status.Index >= e.desired():
		return "the app is scaled down"
	case m.status.State == api.StateEvacuating:
		return "its node is evacuated, and its replacement runs"
	case m.status.Version != e.version():
		return "a newer version runs"
	default:
		return "another instance with this index runs"
	}
}

// startMissing places what is missing as one batch, and starts what found room.
func (e *evaluation) startMissing(ctx workflow.Context) {
	missing := e.missing(workflow.Now(ctx))
	if len(missing) == 0 {
		return
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

// input is what an instance at an index is started with.
func (e *evaluation) input(ctx workflow.Context, index int) api.InstanceInput {
	if e.ids[index] == "" {
		e.ids[index] = instanceID(ctx, e.made)
		e.made++
	}
	message := e.spec.Message
	message.Index = index
	return api.InstanceInput{
		InstanceID: e.ids[index], Message: message, Owner: workflow.GetInfo(ctx).WorkflowExecution.ID,
	}
}

// startPlaced starts what found room, all at once. What is no longer wanted by now gives its room back.
func (e *evaluation) startPlaced(ctx workflow.Context, inputs []api.InstanceInput, answer activities.PlaceResult) {
	var refused api.Constraint
	var starting []workflow.ChildWorkflowFuture
	for _, in := range inputs {
		placed, ok := answer.Placed[in.InstanceID]
		if !ok {
			refused = cmp.Or(answer.Refused[in.InstanceID], api.ConstraintMemory)
			continue
		}
		delete(e.ids, in.Message.Index)
		in.Node, in.FilesURL = placed.Node, placed.FilesURL
		if in.Message.Index >= e.desired() || in.Message.Version != e.version() {
			e.giveBack(ctx, in)
			continue
		}
		starting = append(starting, e.start(ctx, in))
	}
	if refused != "" {
		e.refused(api.NotEnough(refused), workflow.Now(ctx))
	} else {
		e.tryAgain()
	}
	for _, child := range starting {
		if err := child.GetChildWorkflowExecution().Get(ctx, nil); err != nil {
			workflow.GetLogger(ctx).Error("an instance was not started", "error", err)
		}
	}
}

// giveBack releases the room of an instance that is not started after all.
func (e *evaluation) giveBack(ctx workflow.Context, in api.InstanceInput) {
	released := api.SignalRelease.SendFrom(ctx, api.NodeWorkflowID(in.Node), api.ReleaseRequest{IDs: []string{in.InstanceID}})
	if err := released.Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Warn("the node has no ledger to give the room back to", "error", err)
	}
}

// start begins the life of one instance. That it is over is heard by signal; only one that ends without a word, since
// somebody terminated it, is noticed here.
func (e *evaluation) start(ctx workflow.Context, in api.InstanceInput) workflow.ChildWorkflowFuture {
	status := api.InstanceStatus{
		InstanceID: in.InstanceID, AppID: e.id, Version: in.Message.Version, Index: in.Message.Index,
		Node: in.Node, State: api.StateStarting, Since: workflow.Now(ctx), FilesURL: in.FilesURL,
	}
	e.instances[in.InstanceID] = &member{status: status}
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
	return child
}
