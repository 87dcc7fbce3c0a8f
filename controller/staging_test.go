package controller

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
)

// platform is a Temporal whose workflows have all failed, and answer a query with status.
type platform struct {
	client.Client
	client.WorkflowRun
	status    any
	fails     error
	running   []string
	queries   []string
	cancelled []string
	awaited   []string
}

func (p *platform) GetWorkflow(_ context.Context, id, _ string) client.WorkflowRun {
	p.awaited = append(p.awaited, id)
	return p
}

func (p *platform) Get(context.Context, any) error { return p.fails }

func (p *platform) QueryWorkflow(context.Context, string, string, string, ...any) (converter.EncodedValue, error) {
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(p.status)
	return client.NewValue(payloads), err
}

func (p *platform) ListWorkflow(
	_ context.Context, r *workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	p.queries = append(p.queries, r.GetQuery())
	var found []*workflowpb.WorkflowExecutionInfo
	for _, id := range p.running {
		found = append(found, &workflowpb.WorkflowExecutionInfo{Execution: &commonpb.WorkflowExecution{WorkflowId: id}})
	}
	return &workflowservice.ListWorkflowExecutionsResponse{Executions: found}, nil
}

func (p *platform) CancelWorkflow(_ context.Context, id, _ string) error {
	p.cancelled = append(p.cancelled, id)
	return nil
}

func (p *platform) UpdateWorkflow(context.Context, client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
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

func TestDeleteCancelsTheStagingsOfItsApp(t *testing.T) {
	p := &platform{running: []string{"stage/hello/1", "stage/hello/2"}, fails: serviceerror.NewNotFound("over")}
	c := New(p, nil)
	_, err := c.Delete(context.Background(), "hello", "")
	require.ErrorIs(t, err, ErrNoSuchApp, "it never ran")
	require.Equal(t, p.running, p.cancelled)
	require.Contains(t, p.queries[0], "DeaApp = 'hello'")

	require.ErrorIs(t, c.AwaitGone(context.Background(), "hello"), ErrNoSuchApp)
	require.Equal(t, []string{"stage/hello/1", "stage/hello/2", "app/hello"}, p.awaited)
}

func TestNoNameOfAnAppReachesFurtherThanItsStagings(t *testing.T) {
	for _, name := range []string{`x' OR DeaKind = 'staging`, `x"`, `x\\`} {
		p := &platform{running: []string{"stage/other/1"}}
		_, err := New(p, nil).Delete(context.Background(), name, "")
		require.ErrorIs(t, err, ErrNoSuchApp)
		require.Empty(t, p.cancelled)
		require.Empty(t, strings.Join(p.queries, ""))
	}
}
