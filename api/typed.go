package api

import (
	"context"
	"fmt"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"
)

// Signal is the name of a signal together with the type of what it carries.
type Signal[T any] struct{ name string }

// Name is the signal's name in histories.
func (s Signal[T]) Name() string { return s.name }

// Signaller is the part of a Temporal client that sends signals.
type Signaller interface {
	SignalWorkflow(ctx context.Context, workflowID, runID, signalName string, arg any) error
}

// Send signals the open run of a workflow. It fails with serviceerror.NotFound when there is none.
func (s Signal[T]) Send(ctx context.Context, to Signaller, workflowID string, value T) error {
	return to.SignalWorkflow(ctx, workflowID, "", s.name, value)
}

// SendFrom signals the open run of another workflow from within a workflow.
func (s Signal[T]) SendFrom(ctx workflow.Context, workflowID string, value T) workflow.Future {
	return workflow.SignalExternalWorkflow(ctx, workflowID, "", s.name, value)
}

// Receive takes the next value off a channel made by Channel, blocking the workflow until there is one.
func (s Signal[T]) Receive(ctx workflow.Context) T {
	var value T
	workflow.GetSignalChannel(ctx, s.name).Receive(ctx, &value)
	return value
}

// ReceiveAsync takes the next value if one has arrived.
func (s Signal[T]) ReceiveAsync(ctx workflow.Context) (T, bool) {
	var value T
	ok := workflow.GetSignalChannel(ctx, s.name).ReceiveAsync(&value)
	return value, ok
}

// Len is how many values have arrived and were not received yet.
func (s Signal[T]) Len(ctx workflow.Context) int {
	return workflow.GetSignalChannel(ctx, s.name).Len()
}

// OnReceive adds a case to the selector that hands each arriving value to handle.
func (s Signal[T]) OnReceive(ctx workflow.Context, selector workflow.Selector, handle func(T)) {
	selector.AddReceive(workflow.GetSignalChannel(ctx, s.name), func(c workflow.ReceiveChannel, _ bool) {
		var value T
		c.Receive(ctx, &value)
		handle(value)
	})
}

// Update is the name of a workflow update together with the types of its argument and its answer.
type Update[In, Out any] struct{ name string }

// Name is the update's name in histories.
func (u Update[In, Out]) Name() string { return u.name }

// Updater is the part of a Temporal client that sends updates.
type Updater interface {
	UpdateWorkflow(ctx context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
}

// Call updates the open run of a workflow and waits for the answer. The same non-empty updateID sent twice to one
// run is carried out once.
func (u Update[In, Out]) Call(ctx context.Context, to Updater, workflowID, updateID string, in In) (Out, error) {
	var out Out
	handle, err := to.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID:   workflowID,
		UpdateID:     updateID,
		UpdateName:   u.name,
		Args:         []any{in},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return out, err
	}
	err = handle.Get(ctx, &out)
	return out, err
}

// Handle registers the update's handler in a workflow. validate may be nil; it must not change state.
func (u Update[In, Out]) Handle(
	ctx workflow.Context, handle func(workflow.Context, In) (Out, error), validate func(In) error,
) error {
	options := workflow.UpdateHandlerOptions{}
	if validate != nil {
		options.Validator = validate
	}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, u.name, handle, options); err != nil {
		return fmt.Errorf("handle update %s: %w", u.name, err)
	}
	return nil
}

// Query is the name of a query together with the type of its answer.
type Query[Out any] struct{ name string }

// Name is the query's name.
func (q Query[Out]) Name() string { return q.name }

// Querier is the part of a Temporal client that queries.
type Querier interface {
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string, args ...any) (converter.EncodedValue, error)
}

// Ask queries the newest run of a workflow, closed or not.
func (q Query[Out]) Ask(ctx context.Context, to Querier, workflowID string) (Out, error) {
	var out Out
	value, err := to.QueryWorkflow(ctx, workflowID, "", q.name)
	if err != nil {
		return out, err
	}
	err = value.Get(&out)
	return out, err
}

// Handle registers the query's handler in a workflow.
func (q Query[Out]) Handle(ctx workflow.Context, answer func() (Out, error)) error {
	if err := workflow.SetQueryHandler(ctx, q.name, answer); err != nil {
		return fmt.Errorf("handle query %s: %w", q.name, err)
	}
	return nil
}
