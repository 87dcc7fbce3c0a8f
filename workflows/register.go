package workflows

import (
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
)

// Register registers every workflow type under its name in package api.
func Register(to worker.WorkflowRegistry) {
	for name, definition := range map[string]any{
		api.WorkflowAppStagings:    AppStagings,
		api.WorkflowStageApp:       StageApp,
		api.WorkflowFetchDroplet:   FetchDroplet,
		api.WorkflowRunInstance:    RunInstance,
		api.WorkflowEvaluateHealth: EvaluateHealth,
		api.WorkflowNode:           Node,
	} {
		to.RegisterWorkflowWithOptions(definition, workflow.RegisterOptions{Name: name})
	}
}
