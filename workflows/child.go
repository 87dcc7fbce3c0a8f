package workflows

import (
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
)

// startChild starts the life of an instance, which goes on without its parent.
func startChild(ctx workflow.Context, in api.InstanceInput) workflow.ChildWorkflowFuture {
	m := in.Message
	in.Listed = api.StateStarting
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            api.InstanceWorkflowID(in.InstanceID),
		TaskQueue:             api.TaskQueue,
		WorkflowTaskTimeout:   api.WorkflowTaskTimeout,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:         fmt.Sprintf("%s/%d on %s", m.Name, m.Index, in.Node),
		StaticDetails:         in.Details(),
		TypedSearchAttributes: in.SearchAttributes(),
	})
	return workflow.ExecuteChildWorkflow(ctx, api.WorkflowRunInstance, in)
}

// startStaging starts one staging of an app. It waits for the staging's end also when it is told to cancel it, and leaves it
// alone when the parent ends.
func startStaging(ctx workflow.Context, in api.StageInput) workflow.ChildWorkflowFuture {
	r := in.Request
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            api.StageWorkflowID(r.AppID, r.TaskID),
		TaskQueue:             api.TaskQueue,
		WorkflowTaskTimeout:   api.WorkflowTaskTimeout,
		WaitForCancellation:   true,
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:         "Stages app " + r.AppID,
		StaticDetails:         fmt.Sprintf("Staging `%s` of app `%s` on stack `%s`.", r.TaskID, r.AppID, r.Stack),
		TypedSearchAttributes: temporal.NewSearchAttributes(
			api.SearchKind.ValueSet(string(api.KindStaging)),
			api.SearchApp.ValueSet(r.AppID),
			api.SearchState.ValueSet(string(api.StagingPlacing)),
		),
	})
	return workflow.ExecuteChildWorkflow(ctx, api.WorkflowStageApp, in)
}
