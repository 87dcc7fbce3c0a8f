package controller

import (
	"context"

	"github.com/durable-dea/dea/api"
)

// Instance tells what is known of an instance, also of one that has ended, for as long as Temporal keeps its history.
// Fails with ErrNoSuchInstance.
func (c *Client) Instance(ctx context.Context, instance string) (api.InstanceStatus, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	status, err := retry(limited, func() (api.InstanceStatus, error) {
		return api.QueryInstance.Ask(limited, c.temporal, api.InstanceWorkflowID(instance))
	})
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
