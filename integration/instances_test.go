package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// TestInstancesFromTheCommandLine finds instances and stops one, as an operator does.
func TestInstancesFromTheCommandLine(t *testing.T) {
	const app = "chosen"
	instance := runsSleeping(t, app)
	defer remove(t, shared, app)
	var found struct {
		Instances []api.InstanceStatus `json:"instances"`
	}
	chosen := func(command string, flags ...string) []api.InstanceStatus {
		t.Helper()
		found.Instances = nil
		require.NoError(t, shared.StarterJSON(t.Context(), &found, append([]string{command, app}, flags...)...))
		require.NotNil(t, found.Instances)
		return found.Instances
	}
	all := chosen("instances", "--state", "running", "--version", instance.Version, "--index", "0,1")
	require.Len(t, all, 1)
	assert.Equal(t, instance.InstanceID, all[0].InstanceID)
	assert.Empty(t, chosen("instances", "--state", "crashed"))
	assert.Empty(t, chosen("stop-instances", "--index", "1"))
	// What visibility finds beside the app's own is the same instance, and is told once.
	eventually(t, soon, func() error { return listed(t.Context(), api.InstanceWorkflowID(instance.InstanceID)) })
	require.Len(t, chosen("instances"), 1)
	require.Len(t, chosen("stop-instances", "--instance", instance.InstanceID, "--reason", "the test wants it"), 1)
	eventually(t, later, func() error { return anotherRuns(t.Context(), app, instance.InstanceID) })
	out, err := shared.Starter(t.Context(), "instances", "none-of-that-name")
	require.NoError(t, err)
	assert.Contains(t, out, "No such instances")
}

// listed fails unless visibility has a workflow that runs.
func listed(ctx context.Context, id string) error {
	list, err := shared.Temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Query: fmt.Sprintf("WorkflowId = '%s' AND ExecutionStatus = 'Running'", id),
	})
	if err == nil && len(list.GetExecutions()) == 0 {
		err = fmt.Errorf("workflow %s is not listed", id)
	}
	return err
}

// alone answers as an instance that was started by itself, until it is told to stop.
func alone(ctx workflow.Context, status api.InstanceStatus) error {
	err := api.QueryInstance.Handle(ctx, func() (api.InstanceStatus, error) { return status, nil })
	if err != nil {
		return err
	}
	stop := api.SignalStopInstance.Receive(ctx)
	status.State = api.StateDeleted
	status.Exit = &api.InstanceExit{Status: -1, Description: stop.Reason}
	return nil
}

// TestInstancesByThemselves finds and stops instances that no app's workflow keeps, of which visibility alone knows.
func TestInstancesByThemselves(t *testing.T) {
	t.Parallel()
	ctx, app := t.Context(), "alone-"+uuid.NewString()
	w := worker.New(shared.Temporal, app, worker.Options{})
	w.RegisterWorkflowWithOptions(alone, workflow.RegisterOptions{Name: "alone"})
	require.NoError(t, w.Start())
	defer w.Stop()
	var ids []string
	for index := range 3 {
		status := api.InstanceStatus{
			InstanceID: uuid.NewString(), AppID: app, Version: "v1", Index: index, State: api.StateRunning, Node: "n",
		}
		ids = append(ids, status.InstanceID)
		_, err := shared.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: api.InstanceWorkflowID(status.InstanceID), TaskQueue: app,
			TypedSearchAttributes: temporal.NewSearchAttributes(
				api.SearchKind.ValueSet(string(api.KindInstance)), api.SearchApp.ValueSet(app)),
		}, "alone", status)
		require.NoError(t, err)
	}
	find := func(filter api.InstanceFilter, wanted ...string) func() error {
		filter.AppID = app
		return func() error {
			found, err := shared.Control.FindInstances(ctx, filter)
			var got []string
			for _, instance := range found {
				got = append(got, instance.InstanceID)
			}
			if err == nil && !slices.Equal(got, wanted) {
				err = fmt.Errorf("found %v, not %v", got, wanted)
			}
			return err
		}
	}
	eventually(t, soon, find(api.InstanceFilter{}, ids...))
	require.NoError(t, find(api.InstanceFilter{Indices: []int{0, 2}, Version: "v1"}, ids[0], ids[2])())
	require.NoError(t, find(api.InstanceFilter{InstanceIDs: ids[1:], Indices: []int{1}}, ids[1])())
	require.NoError(t, find(api.InstanceFilter{States: []api.InstanceState{api.StateCrashed}})())

	follower := follow(t, shared.Control, app, ids[1])
	eventually(t, soon, func() error { return follower.at(api.StateRunning, 1) })
	told, err := shared.Control.StopInstances(ctx, api.InstanceFilter{AppID: app, Indices: []int{1, 2}}, "enough")
	require.NoError(t, err)
	require.Len(t, told, 2)
	assert.Equal(t, ids[1], told[0].InstanceID)
	assert.Equal(t, ids[2], told[1].InstanceID)
	assert.Equal(t, api.StateRunning, told[0].State)
	follower.ends(t)
	last := follower.lives()[ids[1]]
	assert.Equal(t, "enough", last[len(last)-1].Exit.Description)
	// Visibility may still show those two as running: they are closed all the same.
	eventually(t, soon, find(api.InstanceFilter{}, ids[0]))
	told, err = shared.Control.StopInstances(ctx, api.InstanceFilter{AppID: app}, "enough")
	require.NoError(t, err)
	require.Len(t, told, 1)
}

// TestOneInstance starts an instance by itself from the command line, as a cloud controller would.
func TestOneInstance(t *testing.T) {
	const app = "one-instance"
	ctx := t.Context()
	result := staged(t, app, zipOf(t, file("run", "sleep 3600")), buildpack{})
	spec, err := shared.AppSpec(ctx, app, result.DropletSHA1)
	require.NoError(t, err)
	message := spec.Message
	message.URIs, message.Index = nil, 7
	start := func(m api.StartMessage, flags ...string) (api.InstanceStatus, error) {
		text, err := json.Marshal(m)
		require.NoError(t, err)
		name := filepath.Join(t.TempDir(), "message.json")
		require.NoError(t, os.WriteFile(name, text, 0o600))
		var started api.InstanceStatus
		return started, shared.StarterJSON(ctx, &started, append([]string{"start-instance", "-f", name}, flags...)...)
	}
	id := "one-" + uuid.NewString()
	instance, err := start(message, "--id", id)
	require.NoError(t, err)
	assert.Equal(t, id, instance.InstanceID)
	assert.Equal(t, api.StateRunning, instance.State)
	assert.Equal(t, 7, instance.Index)
	assert.NotEmpty(t, instance.Node)
	_, err = shared.Control.App(ctx, app)
	require.ErrorIs(t, err, controller.ErrNoSuchApp, "no app is kept for it")
	again, err := start(message, "--id", id)
	require.NoError(t, err)
	assert.Equal(t, instance, again, "it is the same one")
	other := message
	other.Index = 8
	_, err = shared.Control.StartInstance(ctx, other, controller.WithInstanceID(id))
	require.ErrorIs(t, err, controller.ErrInstanceExists)

	follower := follow(t, shared.Control, app, instance.InstanceID)
	var told struct {
		Instances []api.InstanceStatus `json:"instances"`
	}
	eventually(t, soon, func() error { // until visibility has it
		err := shared.StarterJSON(ctx, &told, "stop-instances", app, "--index", "7")
		if err == nil && len(told.Instances) != 1 {
			err = errors.New("no instance was told to stop")
		}
		return err
	})
	follower.ends(t)
	life := follower.lives()[instance.InstanceID]
	assert.Equal(t, api.ExitStopped, life[len(life)-1].Exit.Description)
	tellsTheTruth(t, shared.Temporal, follower.lives())
	again, err = shared.Control.StartInstance(ctx, message, controller.WithInstanceID(id))
	require.NoError(t, err)
	assert.Equal(t, api.StateDeleted, again.State, "nor is it started again")

	message.Limits.MemoryMB = 1 << 20
	_, err = start(message)
	require.ErrorContains(t, err, "Not enough memory resource available.")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 4, exit.ExitCode())
	clean(t, shared)
}

// TestRoutesAreFollowed gives an app other routes while it is followed.
func TestRoutesAreFollowed(t *testing.T) {
	const app = "routes"
	ctx := t.Context()
	instance := runsSleeping(t, app)
	defer remove(t, shared, app)
	follower := follow(t, shared.Control, app, "")
	eventually(t, soon, func() error { return follower.at(api.StateRunning, 1) })
	var status api.AppStatus
	require.NoError(t, shared.StarterJSON(ctx, &status, "routes", app, "a.localhost", "b.localhost/x", "--version", "v2"))
	assert.Equal(t, []string{"a.localhost", "b.localhost/x"}, status.URIs)
	eventually(t, later, func() error {
		life := follower.lives()[instance.InstanceID]
		last := life[len(life)-1]
		if len(last.URIs) != 2 || last.Version != "v2" || last.State != api.StateRunning {
			return fmt.Errorf("it was told to be %+v", last)
		}
		return nil
	})
	status = api.AppStatus{}
	require.NoError(t, shared.StarterJSON(ctx, &status, "routes", app, "--none"))
	assert.Empty(t, status.URIs)
	assert.Len(t, follower.lives(), 1, "nothing was restarted")
}

// TestEvacuationIsFollowed has the command line evacuate a node under an app that is followed.
func TestEvacuationIsFollowed(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, stack.OwnOptions{})
	before := p.runs(t, 1)[0]
	node, other := p.nodeOf(t, before)
	follower := follow(t, p.Control, p.app, "")
	eventually(t, soon, func() error { return follower.at(api.StateRunning, 1) })
	var status api.NodeStatus
	require.NoError(t, p.StarterJSON(t.Context(), &status, "evacuate", node.ID, "--reason", "the test wants it"))
	assert.Equal(t, api.NodeEvacuating, status.State)
	eventually(t, later, func() error { return follower.at(api.StateDeleted, 1) })
	eventually(t, later, func() error { return follower.at(api.StateRunning, 1) })
	lives := follower.lives()
	require.Len(t, lives, 2)
	old := lives[before.InstanceID]
	assert.Contains(t, states(old), api.StateEvacuating)
	assert.Equal(t, api.StateDeleted, old[len(old)-1].State)
	assert.Equal(t, other.ID, p.runs(t, 1)[0].Node)
}

func states(life []controller.Change) []api.InstanceState {
	states := make([]api.InstanceState, 0, len(life))
	for _, change := range life {
		states = append(states, change.State)
	}
	return states
}
