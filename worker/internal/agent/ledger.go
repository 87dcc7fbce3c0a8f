package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/pause"
)

// startLedger starts the node's workflow, unless it runs already.
func (a *agent) startLedger(ctx context.Context) error {
	_, err := a.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       api.NodeWorkflowID(a.id),
		TaskQueue:                api.TaskQueue,
		WorkflowTaskTimeout:      api.WorkflowTaskTimeout,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            "Ledger of node " + a.id,
		StaticDetails:            "What is reserved on the node, and whether its worker is there.",
		TypedSearchAttributes: temporal.NewSearchAttributes(
			api.SearchKind.ValueSet(string(api.KindNode)),
			api.SearchNode.ValueSet(a.id),
			api.SearchZone.ValueSet(a.node.PlacementProperties.Zone),
			api.SearchState.ValueSet(string(api.NodeSuspect)),
		),
	}, api.WorkflowNode, api.NodeInput{Node: a.id})
	if err != nil {
		return fmt.Errorf("start the node's workflow (are the search attributes there? `starter setup` makes them): %w", err)
	}
	return nil
}

// ledgerLook is between two looks whether the node has a workflow: one that was forgotten while its worker was cut off, or
// terminated, is started again.
const ledgerLook = 30 * time.Second

// keepLedger has the node's workflow run for as long as its worker does, until stop.
func (a *agent) keepLedger(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for pause.For(ctx, ledgerLook) {
			if err := a.startLedger(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("the node may have no ledger at the moment", "error", err)
			}
		}
	})
	return func() { cancel(); running.Wait() }
}

func (a *agent) advertisement() api.NodeAdvertisement {
	n := a.node
	said := api.NodeAdvertisement{
		Capacity:           api.Resources{MemoryMB: n.Resources.CapacityMemoryMB(), DiskMB: n.Resources.CapacityDiskMB()},
		NoStaging:          !n.Staging.Enabled,
		StagingMinimum:     api.Resources{MemoryMB: n.Staging.MemoryLimitMB, DiskMB: n.Staging.DiskLimitMB},
		Zone:               n.PlacementProperties.Zone,
		Host:               n.LocalRoute,
		FilesURL:           a.files.url,
		Exec:               a.execEndpoint(),
		Grace:              n.NodeGrace,
		CompletionPatience: n.Staging.CompletionTimeout,
		EvacuationBailOut:  n.EvacuationBailOut,
		Worker:             a.worker,
	}
	for _, stack := range n.Stacks {
		said.Stacks = append(said.Stacks, stack.Name)
	}
	return said
}
