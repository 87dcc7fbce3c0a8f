package controller

import (
	"context"

	"github.com/durable-dea/dea/api"
)

// Instance tells what is known of an instance that lives. Fails with ErrNoSuchInstance.
func (c *Client) Instance(ctx context.Context, instance string) (api.InstanceStatus, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	status, err := ask(limited, c, api.QueryInstance, api.InstanceWorkflowID(instance))
	return status, explain(ctx, err, instanceSubject(instance))
}

// StopInstance ends one instance, and returns as soon as it is told. Where the app wants more than are left, its
// workflow starts another one. reason is for the operator, in the history. Fails with ErrNoSuchInstance.
func (c *Client) StopInstance(ctx context.Context, instance, reason string) error {
	limited, cancel := c.call(ctx)
	defer cancel()
	err := api.SignalStopInstance.Send(limited, c.temporal, api.InstanceWorkflowID(instance), api.StopInstance{Reason: reason})
	return explain(ctx, err, instanceSubject(instance))
}
