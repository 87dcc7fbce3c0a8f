package workflows

import (
	"fmt"

	"github.com/google/uuid"
	"go.temporal.io/sdk/workflow"
)

// instanceIDs is the namespace of the ids that instanceID makes.
var instanceIDs = uuid.MustParse("6f0b7f3e-5a0f-5d53-9d8c-3f6cb0a6c1a5")

// instanceID makes the n-th instance id of a workflow run. It is the same at each replay and unlike any other run's.
func instanceID(ctx workflow.Context, n int) string {
	run := workflow.GetInfo(ctx).WorkflowExecution.RunID
	return uuid.NewSHA1(instanceIDs, fmt.Appendf(nil, "%s/%d", run, n)).String()
}
