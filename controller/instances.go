package controller

import (
	"context"

	"github.com/durable-dea/dea/api"
)

// UpdateRoutes gives an app other routes, all of them, at once and without a restart, and another version where the request
// names one: dea.update. It returns as soon as that is recorded. Fails with ErrNoSuchApp or ErrInvalid.
func (c *Client) UpdateRoutes(ctx context.Context, app string, routes api.RoutesRequest) (api.AppStatus, error) {
	if err := routes.Validate(); err != nil {
		return api.AppStatus{}, invalid(err)
	}
	return updateApp(ctx, c, api.UpdateRoutes, app, routes)
}

// Instance tells what is known of an instance, also of one that has ended, for as long as Temporal keeps its history.
// Fails with ErrNoSuchInstance.
func (c *Client) Instance(ctx context.Context, instance string) (api.InstanceStatus, error) {
	status, err := c.askInstance(ctx, instance)
	return status, explain(ctx, err, instanceSubject(instance))
}

// StopInstance ends one instance, and returns as soon as it is told. Where the app wants more than are left, its
// workflow starts another one. reason is for the operator, in the history. Fails with ErrNoSuchInstance.
func (c *Client) StopInstance(ctx context.Context, instance, reason string) error {
	limited, cancel := c.call(ctx)
	defer cancel()
	err := api.SignalStopInstance.Send(limited, c.temporal, api.InstanceWorkflowID(instance), api.StopInstance{
		Reason: reason, TellOwner: true,
	})
	return explain(ctx, err, instanceSubject(instance))
}
