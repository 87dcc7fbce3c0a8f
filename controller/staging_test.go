package controller

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
)

// platform is a Temporal whose workflows have all failed, and answer a query with status.
type platform struct {
	client.Client
	client.WorkflowRun
	status                    any
	fails, asking, cancelling error
	asked                     []string
	cancelled                 []string
	awaited                   []string
	updated                   int
}

func (p *platform) GetWorkflow(_ context.Context, id, _ string) client.WorkflowRun {
	p.awaited = append(p.awaited, id)
	return p
}

func (p *platform) Get(context.Context, any) error { return p.fails }

func (p *platform) QueryWorkflow(_ context.Context, id, _, query string, _ ...any) (converter.EncodedValue, error) {
	p.asked = append(p.asked, id+" "+query)
	if p.asking != nil {
		return nil, p.asking
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(p.status)
	return client.NewValue(payloads), err
}

func (p *platform) ListWorkflow(
	context.Context, *workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	return &workflowservice.ListWorkflowExecutionsResponse{}, nil
}

func (p *platform) CancelWorkflow(_ context.Context, id, _ string) error {
	p.cancelled = append(p.cancelled, id)
	return p.cancelling
}

func (p *platform) UpdateWorkflow(context.Context, client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	p.updated++
	return nil, serviceerror.NewNotFound("no app")
}

func TestAFailedStagingTellsHowFarItCame(t *testing.T) {
	failed := api.Final(api.ErrBuildpackCompile, "compile failed", nil)
	for name, status := range map[string]api.StagingStatus{
		"at its end":     {Node: "n-1", Result: &api.StagingResult{NodeID: "n-1", DetectedBuildpack: "Go"}},
		"in between":     {Node: "n-1"},
		"before a place": {},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := New(&platform{status: status, fails: failed}, nil).Staging("a", "t").Wait(context.Background())
			require.ErrorIs(t, err, ErrStagingFailed)
			require.Equal(t, status.Node, result.NodeID)
			require.Equal(t, "t", result.TaskID)
			require.Equal(t, "compile failed", result.Error)
			require.Equal(t, api.ErrBuildpackCompile, result.ErrorInfo.Type)
			if status.Result != nil {
				require.Equal(t, "Go", result.DetectedBuildpack)
			}
		})
	}
}

func TestNoRoomWithoutNodesIsToldAsThat(t *testing.T) {
	full := api.Final(api.ErrInsufficientResources, api.NotEnough(api.ConstraintMemory), nil)
	_, err := New(&platform{fails: full}, nil).Staging("a", "t").Wait(context.Background())
	require.ErrorContains(t, err, "no node has joined the platform")
	require.Equal(t, api.ErrInsufficientResources, api.Explain(err, "").Type)

	words, next := noReadyNode([]api.NodeStatus{{State: api.NodeDraining}, {State: api.NodeStateLost}, {State: api.NodeDraining}})
	require.Equal(t, "no node takes new work (2 draining, 1 lost)", words)
	require.Contains(t, next, "undrain")
	_, next = noReadyNode([]api.NodeStatus{{State: api.NodeSuspect}})
	require.Contains(t, next, "workers")
	words, _ = noReadyNode([]api.NodeStatus{{State: api.NodeDraining}, {State: api.NodeReady}})
	require.Empty(t, words)
}
