package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
)

// release gives a reservation back to its node; awaitReleased waits until that has come to pass.
func release(ctx workflow.Context, node, reservation string) workflow.Future {
	return api.SignalRelease.SendFrom(ctx, api.NodeWorkflowID(node), api.ReleaseRequest{IDs: []string{reservation}})
}

// awaitReleased lets a node be that has no ledger: there the room is nobody's.
func awaitReleased(ctx workflow.Context, released workflow.Future) {
	if err := released.Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Warn("the node has no ledger to give the room back to", "error", err)
	}
}
