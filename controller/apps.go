package controller

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/durable-dea/dea/api"
)

// Run says what an app should be, and begins to keep it so: an app that is not known starts, one that is changes.
// It returns as soon as that is recorded; App tells how far it has come. Fails with ErrInvalid for a spec that can
// never work.
func (c *Client) Run(ctx context.Context, spec api.AppSpec) (api.AppStatus, error) {
	if err := spec.Validate(); err != nil {
		return api.AppStatus{}, invalid(err)
	}
	id := spec.Message.AppID
	limited, cancel := c.call(ctx)
	defer cancel()
	status, err := withRoutes(begin(limited, c, keeper{
		id: api.AppWorkflowID(id), workflow: api.WorkflowEvaluateHealth, kind: api.KindApp, app: id,
		summary: "Keeps app " + spec.Message.Name + " at its wanted number of instances",
		input:   api.AppInput{AppID: id, Shape: api.AppShape},
	}, api.UpdateDesire, uuid.NewString(), spec))
	return status, explain(ctx, err, appSubject(id))
}

// Scale changes an app's wanted number of instances, 0 to api.MaxInstances, and returns as soon as that is recorded.
// Fails with ErrNoSuchApp or ErrInvalid.
func (c *Client) Scale(ctx context.Context, app string, instances int) (api.AppStatus, error) {
	request := api.ScaleRequest{Instances: instances}
	if err := request.Validate(); err != nil {
		return api.AppStatus{}, invalid(err)
	}
	return updateApp(ctx, c, api.UpdateScale, app, request)
}

// Stop ends an app's instances and keeps the app: Start brings it back. How many instances it had is not kept.
func (c *Client) Stop(ctx context.Context, app string) (api.AppStatus, error) {
	return c.Scale(ctx, app, 0)
}

// Start brings an app that was stopped back with a number of instances from 1.
func (c *Client) Start(ctx context.Context, app string, instances int) (api.AppStatus, error) {
	if instances < 1 {
		return api.AppStatus{}, invalid(api.Final(api.ErrInvalidRequest, "an app is started with one instance or more", nil))
	}
	return c.Scale(ctx, app, instances)
}

// Delete ends an app for good, and cancels its stagings that run, also where the app never ran: that is ErrNoSuchApp
// all the same. It returns as soon as that is recorded; AwaitGone waits for the end.
func (c *Client) Delete(ctx context.Context, app, reason string) (api.AppStatus, error) {
	if err := c.cancelStagings(ctx, app); err != nil {
		return api.AppStatus{}, explain(ctx, err, appSubject(app))
	}
	return updateApp(ctx, c, api.UpdateDelete, app, api.DeleteRequest{Reason: reason})
}

// AwaitGone waits, for as long as ctx lets it, until a deleted app's last instance is gone and its stagings have cleaned
// up, those of an app that never ran too: that is ErrNoSuchApp all the same.
func (c *Client) AwaitGone(ctx context.Context, app string) error {
	if err := c.awaitStagings(ctx, app); err != nil {
		return explain(ctx, err, appSubject(app))
	}
	return explain(ctx, c.await(ctx, api.AppWorkflowID(app), nil), appSubject(app))
}

// updateApp sends an update to the app's workflow and waits for its answer.
func updateApp[In any](
	ctx context.Context, c *Client, update api.Update[In, api.AppStatus], app string, in In,
) (api.AppStatus, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	id := uuid.NewString()
	status, err := retry(limited, func() (api.AppStatus, error) {
		return withRoutes(update.Call(limited, c.temporal, api.AppWorkflowID(app), id, in))
	})
	return status, explain(ctx, err, appSubject(app))
}

// App tells what an app should be and what it is. An app that was deleted is ErrNoSuchApp.
func (c *Client) App(ctx context.Context, app string) (api.AppStatus, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	status, err := c.askApp(limited, app)
	return status, explain(ctx, err, appSubject(app))
}

// askApp is App with the error as it came, within the time of ctx.
func (c *Client) askApp(ctx context.Context, app string) (api.AppStatus, error) {
	return withRoutes(ask(ctx, c, api.QueryApp, api.AppWorkflowID(app)))
}

// withRoutes is shareRoutes for the answer of a workflow.
func withRoutes(app api.AppStatus, err error) (api.AppStatus, error) {
	shareRoutes(app)
	return app, err
}

// shareRoutes says of each instance that has taken on new routes what they are: the app's, which its workflow tells once.
func shareRoutes(app api.AppStatus) {
	for i := range app.Instances {
		if app.Instances[i].Rerouted {
			app.Instances[i].URIs = app.URIs
		}
	}
}

// Apps lists every app, by id. One that was made within the last 2 seconds may be missing. Where some could not be
// asked, the others are returned with the error.
func (c *Client) Apps(ctx context.Context) ([]api.AppStatus, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	apps, err := askAll(limited, c, api.WorkflowEvaluateHealth, api.QueryApp)
	for _, app := range apps {
		shareRoutes(app)
	}
	slices.SortFunc(apps, func(a, b api.AppStatus) int { return strings.Compare(a.AppID, b.AppID) })
	return apps, explain(ctx, err, subject{ErrNoSuchApp, "list of", "apps", ""})
}
