package controller

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/durable-dea/dea/api"
)

// StartInstance starts one instance by itself, as dea.<id>.start did: no app's workflow counts it, starts it again or stops it.
// It finds a node for itself, and crashes with "Not enough memory resource available." or the like where none has room. It
// returns as soon as that is recorded: what it tells is the state BORN, without a node; FollowInstance and Instance tell what
// becomes of it. Fails with ErrInvalid for a message that can never work. Of another failure it may not be known whether the
// instance was started: its id is returned with the error, and Instance tells.
func (c *Client) StartInstance(ctx context.Context, message api.StartMessage) (api.InstanceStatus, error) {
	if err := message.Validate(); err != nil {
		return api.InstanceStatus{}, invalid(err)
	}
	limited, cancel := c.call(ctx)
	defer cancel()
	in := api.InstanceInput{InstanceID: uuid.NewString(), Message: message, Shape: api.InstanceShape}
	// A try whose answer was lost has started it: the next one finds it, and that is no error.
	_, err := retry(limited, func() (client.WorkflowRun, error) {
		return c.temporal.ExecuteWorkflow(limited, singleOptions(in), api.WorkflowRunInstance, in)
	})
	if err != nil {
		return api.InstanceStatus{InstanceID: in.InstanceID}, explain(ctx, err, instanceSubject(in.InstanceID))
	}
	return api.InstanceStatus{
		InstanceID: in.InstanceID, AppID: message.AppID, Version: message.Version, Index: message.Index,
		State: api.StateBorn, Since: c.now(),
	}, nil
}

// StartInstanceJSON is StartInstance for a message in the wire's form; see api.ParseStartMessage. Fails with ErrInvalid also for
// what is no such message.
func (c *Client) StartInstanceJSON(ctx context.Context, text []byte) (api.InstanceStatus, error) {
	message, err := api.ParseStartMessage(text)
	if err != nil {
		return api.InstanceStatus{}, invalid(err)
	}
	return c.StartInstance(ctx, message)
}

// singleOptions are those of an app's own instances, but for the node, which is not known.
func singleOptions(in api.InstanceInput) client.StartWorkflowOptions {
	m := in.Message
	return client.StartWorkflowOptions{
		ID:                    api.InstanceWorkflowID(in.InstanceID),
		TaskQueue:             api.TaskQueue,
		WorkflowTaskTimeout:   api.WorkflowTaskTimeout,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:         fmt.Sprintf("%s/%d by itself", m.Name, m.Index),
		StaticDetails:         in.Details(),
		TypedSearchAttributes: in.SearchAttributes(),
	}
}

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
