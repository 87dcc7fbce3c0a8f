package controller

import (
	"context"
	"errors"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/api"
)

// keeper is a workflow of an app that is started together with an update.
type keeper struct {
	// id and workflow are its id and its type.
	id, workflow string
	kind         api.Kind
	app          string
	// summary is what Temporal's UI says of it.
	summary string
	// input is what it starts with.
	input any
}

// begin starts a keeper together with its first update, or updates the one that runs, and waits for the answer. The id
// of the update stays the same in every try, so that an answer that was lost does not make it two.
func begin[In, Out any](
	ctx context.Context, c *Client, k keeper, update api.Update[In, Out], updateID string, in In,
) (Out, error) {
	return retryIf(ctx, passingOrOver, func() (Out, error) { return beginOnce(ctx, c, k, update, updateID, in) })
}

func beginOnce[In, Out any](
	ctx context.Context, c *Client, k keeper, update api.Update[In, Out], updateID string, in In,
) (Out, error) {
	var out Out
	// It is good for one try.
	start := c.temporal.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
		ID:                       k.id,
		TaskQueue:                api.TaskQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowTaskTimeout:      api.WorkflowTaskTimeout,
		TypedSearchAttributes:    temporal.NewSearchAttributes(api.SearchApp.ValueSet(k.app), api.SearchKind.ValueSet(string(k.kind))),
		StaticSummary:            k.summary,
	}, k.workflow, k.input)
	handle, err := c.temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: start,
		UpdateOptions: client.UpdateWorkflowOptions{
			WorkflowID:   k.id,
			UpdateID:     updateID,
			UpdateName:   update.Name(),
			Args:         []any{in},
			WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	if err != nil {
		return out, flatten(err)
	}
	err = handle.Get(ctx, &out)
	return out, err
}

// passingOrOver is passing for an update that comes with a start: one that found the workflow at its end is for a new run.
func passingOrOver(err error) bool {
	var over *serviceerror.NotFound
	return passing(err) || errors.As(err, &over)
}

// flatten picks the operation that failed out of an update-with-start; the other one is only "aborted".
func flatten(err error) error {
	var multi *serviceerror.MultiOperationExecution
	if !errors.As(err, &multi) {
		return err
	}
	for _, one := range multi.OperationErrors() {
		var aborted *serviceerror.MultiOperationAborted
		if one != nil && !errors.As(one, &aborted) {
			return one
		}
	}
	return err
}
