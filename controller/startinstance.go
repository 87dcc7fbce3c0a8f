package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/durable-dea/dea/api"
)

// StartOption changes what StartInstance does.
type StartOption func(*api.InstanceInput)

// WithInstanceID names the instance, by what api.ValidateInstanceID takes; without it StartInstance makes an id. The same id and
// message twice are one instance, ended or not, for as long as Temporal keeps its history: whoever does not know whether
// it was started may start it again.
func WithInstanceID(id string) StartOption { return func(in *api.InstanceInput) { in.InstanceID = id } }

// StartInstance starts one instance by itself, as dea.<id>.start did: no app's workflow counts it, starts it again or stops it.
// It finds a node for itself, and crashes with "Not enough memory resource available." or the like where none has room. It
// returns as soon as that is recorded: what it tells is the state BORN, without a node, and of one that WithInstanceID finds
// there already its state now; FollowInstance and Instance tell what becomes of it. Fails with ErrInvalid for a message that can
// never work, and with ErrInstanceExists when the id is that of an instance with another message. Of another failure it may not
// be known whether the instance was started: its id is returned with the error, and Instance tells.
func (c *Client) StartInstance(
	ctx context.Context, message api.StartMessage, options ...StartOption,
) (api.InstanceStatus, error) {
	made := uuid.NewString()
	in := api.InstanceInput{InstanceID: made, Message: message, Shape: api.InstanceShape}
	for _, option := range options {
		option(&in)
	}
	if err := cmp.Or(message.Validate(), api.ValidateInstanceID(in.InstanceID)); err != nil {
		return api.InstanceStatus{}, invalid(err)
	}
	in.Digest = message.Digest()
	limited, cancel := c.call(ctx)
	defer cancel()
	_, err := retry(limited, func() (client.WorkflowRun, error) {
		return c.temporal.ExecuteWorkflow(limited, singleOptions(in), api.WorkflowRunInstance, in)
	})
	var there *serviceerror.WorkflowExecutionAlreadyStarted
	switch {
	case errors.As(err, &there) && in.InstanceID != made:
		return c.startedBefore(ctx, in)
	case err != nil && !errors.As(err, &there): // else it was a try of ours, whose answer was lost
		return api.InstanceStatus{InstanceID: in.InstanceID}, explain(ctx, err, instanceSubject(in.InstanceID))
	}
	return api.InstanceStatus{
		InstanceID: in.InstanceID, AppID: message.AppID, Version: message.Version, Index: message.Index,
		State: api.StateBorn, Since: c.now(),
	}, nil
}

// startedBefore tells of the instance that has an id already, if it is the one that is asked for.
func (c *Client) startedBefore(ctx context.Context, in api.InstanceInput) (api.InstanceStatus, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	start, err := retry(limited, func() (api.InstanceStart, error) {
		return api.QueryStart.Ask(limited, c.temporal, api.InstanceWorkflowID(in.InstanceID))
	})
	if err == nil && start.Digest != in.Digest {
		return api.InstanceStatus{}, &Error{
			ErrInstanceExists, fmt.Sprintf("there is an instance %q already, which was started with another message", in.InstanceID),
			"give another id, or the very message that it was started with", nil,
		}
	}
	var status api.InstanceStatus
	if err == nil {
		status, err = c.askInstance(ctx, in.InstanceID)
	}
	if err != nil {
		return api.InstanceStatus{InstanceID: in.InstanceID}, explain(ctx, err, instanceSubject(in.InstanceID))
	}
	return status, nil
}

// StartInstanceJSON is StartInstance for a message in the wire's form; see api.ParseStartMessage. Fails with ErrInvalid also for
// what is no such message.
func (c *Client) StartInstanceJSON(ctx context.Context, text []byte, options ...StartOption) (api.InstanceStatus, error) {
	message, err := api.ParseStartMessage(text)
	if err != nil {
		return api.InstanceStatus{}, invalid(err)
	}
	return c.StartInstance(ctx, message, options...)
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

		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}
}
