package workflows

import (
	"go.temporal.io/sdk/workflow"

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
	e := &evaluation{app: newApp(in), changed: true, ids: map[int]offered{}}
	if err := e.answer(ctx); err != nil {
		return err
	}
	e.listen(ctx)
	e.updateRest(ctx)
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
	ids  map[int]offered
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
		if settled(ctx, func() bool { return e.mayContinueAsNew(ctx) }) {
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

// isDue tells whether the run is to be continued as new as soon as nothing is in hand.
func (e *evaluation) isDue(ctx workflow.Context) bool {
	return e.shape > 0 && workflow.GetInfo(ctx).GetContinueAsNewSuggested()
}

// mayContinueAsNew tells whether nothing is in hand. What has changed is for the next run to see; a cancel is not, as Temporal
// does not carry one over.
func (e *evaluation) mayContinueAsNew(ctx workflow.Context) bool {
	return workflow.GetInfo(ctx).GetContinueAsNewSuggested() && ctx.Err() == nil && (e.shape > 0 || !e.changed) &&
		e.telling == 0 && workflow.AllHandlersFinished(ctx) && api.SignalInstanceChanged.Len(ctx) == 0
}

// awaitChange waits until something was heard, a start that had to wait is due, or nothing is in hand any more of a run that
// is to be continued. It fails when the workflow is cancelled.
func (e *evaluation) awaitChange(ctx workflow.Context) error {
	now := workflow.Now(ctx)
	heard := func() bool { return e.changed || e.isDue(ctx) && e.mayContinueAsNew(ctx) }
	due := e.due(now)
	if due.IsZero() || e.isDue(ctx) {
		return workflow.Await(ctx, heard)
	}
	_, err := workflow.AwaitWithTimeout(ctx, due.Sub(now), heard)
	return err
}
