package temporal_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/devserver/internal/ports"
	"github.com/durable-dea/dea/devserver/internal/temporal"
)

// start starts a server on the database of dir and gives a client for it.
func start(t *testing.T, dir string) (client.Client, func()) {
	t.Helper()
	row, err := ports.Find(filepath.Join(dir, "ports"), 0, 0, 1)
	require.NoError(t, err)
	server, err := temporal.Start(temporal.Options{
		File:    filepath.Join(dir, "temporal.db"),
		LogFile: filepath.Join(dir, "temporal.log"),
		Ports: temporal.Ports{
			Frontend: row.Temporal(), HTTP: row.TemporalHTTP(),
			History: row.History(), Matching: row.Matching(), Worker: row.Worker(),
		},
		SearchAttributes: api.SearchAttributes(),
	})
	require.NoError(t, err)
	to, err := client.NewLazyClient(client.Options{
		HostPort: server.Address(), Logger: log.NewStructuredLogger(discard()),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, temporal.WaitReady(ctx, to, api.SearchAttributes()))
	return to, func() {
		to.Close()
		require.NoError(t, server.Stop())
		require.NoError(t, row.Close())
	}
}

func greet(ctx workflow.Context) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var said string
	err := workflow.ExecuteActivity(ctx, "hello").Get(ctx, &said)
	return said, err
}

func TestWorkflowsOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	to, stop := start(t, dir)

	// No worker is there: the workflow waits, in the file.
	id := uuid.NewString()
	_, err := to.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: id, TaskQueue: api.TaskQueue,
		TypedSearchAttributes: searchAttributes(),
	}, greet)
	require.NoError(t, err)
	stop()

	to, stop = start(t, dir)
	defer stop()
	works := worker.New(to, api.TaskQueue, worker.Options{})
	works.RegisterWorkflow(greet)
	registerHello(works)
	require.NoError(t, works.Start())
	defer works.Stop()

	var said string
	require.NoError(t, to.GetWorkflow(t.Context(), id, "").Get(t.Context(), &said))
	require.Equal(t, "hello", said)

	require.Eventually(t, func() bool {
		counted, err := to.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{
			Query: fmt.Sprintf("DeaNode = 'n1' AND DeaFreeMemoryMB > 100 AND DeaStacks = 'lucid64' AND WorkflowId = '%s'", id),
		})
		return err == nil && counted.GetCount() == 1
	}, 10*time.Second, 50*time.Millisecond)
}

func TestNamespaceKeepsClosedWorkflowsAWeek(t *testing.T) {
	to, stop := start(t, t.TempDir())
	defer stop()
	described, err := to.WorkflowService().DescribeNamespace(t.Context(), &workflowservice.DescribeNamespaceRequest{
		Namespace: temporal.Namespace,
	})
	require.NoError(t, err)
	require.Equal(t, 7*24*time.Hour, described.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration())
}

func TestInterruptedMakingOfTheDatabaseIsDoneAgain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "temporal.db")
	write(t, file, "half a database")
	write(t, file+".incomplete", "")
	_, stop := start(t, dir)
	stop()
	require.NoFileExists(t, file+".incomplete")
}
