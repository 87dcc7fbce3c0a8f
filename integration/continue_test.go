package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// TestInstanceOutlivesItsHistory gives an instance new routes until Temporal has its workflow continue as new. Its next
// run knows everything: it goes on with its worker's next life, and hears of its end.
func TestInstanceOutlivesItsHistory(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, stack.OwnOptions{})
	instance := p.runs(t, 1)[0]
	id := api.InstanceWorkflowID(instance.InstanceID)
	run := func() string {
		described, err := p.Temporal.DescribeWorkflowExecution(t.Context(), id, "")
		require.NoError(t, err)
		return described.GetWorkflowExecutionInfo().GetExecution().GetRunId()
	}
	first := run()
	uris := make([]string, 900)
	const most = 200
	for n := 0; run() == first; n++ {
		require.Less(t, n, most, "Temporal has it continue at 4 MB of history")
		for m := range uris {
			uris[m] = fmt.Sprintf("%d-%d-%s.localhost", n, m, strings.Repeat("x", 40))
		}
		_, err := p.Control.UpdateRoutes(t.Context(), p.app, api.RoutesRequest{URIs: uris, Version: fmt.Sprint("v", n)})
		require.NoError(t, err)
	}
	eventually(t, soon, func() error {
		now, err := p.Control.Instance(t.Context(), instance.InstanceID)
		if err != nil {
			return err
		}
		if now.State != api.StateRunning || now.URIs[0] != uris[0] {
			return fmt.Errorf("it is %s with the route %s", now.State, now.URIs[0])
		}
		return nil
	})
	require.NoError(t, serves(t.Context(), instance))

	node, _ := p.nodeOf(t, instance)
	require.NoError(t, node.KillWorker())
	require.NoError(t, node.StartWorker(t.Context()))
	eventually(t, later, func() error {
		now, err := p.Control.Instance(t.Context(), instance.InstanceID)
		if err != nil {
			return err
		}
		if len(now.Changes) < 5 || now.State != api.StateRunning {
			return fmt.Errorf("it was not resumed yet: %+v", now.Changes)
		}
		return nil
	})
	require.Equal(t, instance.InstanceID, p.runs(t, 1)[0].InstanceID)
	_, err := p.Control.Scale(t.Context(), p.app, 0)
	require.NoError(t, err)
	p.runs(t, 0)
	ended, err := p.Control.Instance(t.Context(), instance.InstanceID)
	require.NoError(t, err)
	assert.Equal(t, api.StateDeleted, ended.State)
	assert.Equal(t, api.ExitStopped, ended.Exit.Description)
}

// TestLargeMessages starts what no single workflow task could carry, and no single run should: each start is a part of the
// history, which Temporal ends at 50 MB.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	const instances = 16
	p := newPair(t, 0, stack.OwnOptions{MemoryMB: 4096, DiskMB: 8192, Ports: 60})
	message := p.droplet.Message(p.app, "v2", stack.OwnStack)
	for n := range 9 {
		message.Env = append(message.Env, fmt.Sprintf("LARGE_%d=%s", n, strings.Repeat("x", 100_000)))
	}
	_, err := p.Control.Run(t.Context(), api.AppSpec{Message: message, Instances: instances})
	require.NoError(t, err)
	p.runs(t, instances)
	described, err := p.Temporal.DescribeWorkflowExecution(t.Context(), api.AppWorkflowID(p.app), "")
	require.NoError(t, err)
	const most = 8 << 20
	require.Less(t, described.GetWorkflowExecutionInfo().GetHistorySizeBytes(), int64(most))
	uris := make([]string, 900)
	for n := range uris {
		uris[n] = fmt.Sprintf("%d-%s.localhost", n, strings.Repeat("x", 40))
	}
	app, err := p.Control.UpdateRoutes(t.Context(), p.app, api.RoutesRequest{URIs: uris})
	require.NoError(t, err)
	for _, instance := range app.Instances {
		require.Equal(t, uris, instance.URIs)
	}
	_, err = p.Control.Scale(t.Context(), p.app, 0)
	require.NoError(t, err)
	p.runs(t, 0)
}

// TestForgottenNode is listed no more, until a worker of its comes all the same.
func TestForgottenNode(t *testing.T) {
	t.Parallel()
	p := newPair(t, 0, stack.OwnOptions{NodeGrace: grace})
	node := p.nodes[0]
	_, err := p.Control.Forget(t.Context(), node.ID, "too early")
	require.ErrorIs(t, err, controller.ErrInvalid)
	require.NoError(t, node.KillWorker())
	p.state(t, node, api.NodeStateLost)
	_, err = p.Starter(t.Context(), "forget", node.ID, "--reason", "it was sold")
	require.NoError(t, err)
	eventually(t, soon, func() error {
		nodes, err := p.Control.Nodes(t.Context())
		if err == nil && len(nodes) != 1 {
			err = fmt.Errorf("%d nodes are listed", len(nodes))
		}
		return err
	})
	require.NoError(t, node.StartWorker(t.Context()))
	p.state(t, node, api.NodeReady)
}
