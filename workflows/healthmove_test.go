package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
)

// tellOwner says, as an instance, what has become of it.
func tellOwner(ctx workflow.Context, in api.InstanceInput, change func(*api.InstanceStatus)) {
	status := api.InstanceStatus{
		InstanceID: in.InstanceID, AppID: in.Message.AppID, Version: in.Message.Version,
		Index: in.Message.Index, Node: in.Node, Since: workflow.Now(ctx),
	}
	change(&status)
	_ = workflow.SignalExternalWorkflow(ctx, in.Owner, "", api.SignalInstanceChanged.Name(), status).Get(ctx, nil)
}

// An evacuated instance is stopped once its replacement runs, and not before.
func TestEvacuatedInstanceIsReplacedBeforeItIsStopped(t *testing.T) {
	var began []string
	var stoppedAfter, replacedAfter time.Duration
	var evacuated time.Time
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		began = append(began, in.InstanceID)
		if len(began) > 1 {
			replacedAfter = workflow.Now(ctx).Sub(evacuated)
			return untilStopped(ctx, in)
		}
		if err := workflow.Sleep(ctx, time.Minute); err != nil {
			return api.StateCrashed
		}
		evacuated = workflow.Now(ctx)
		tellOwner(ctx, in, func(s *api.InstanceStatus) { s.State = api.StateEvacuating })
		stop := api.SignalStopInstance.Receive(ctx)
		stoppedAfter = workflow.Now(ctx).Sub(evacuated)
		require.Equal(t, "its node is evacuated, and its replacement runs", stop.Reason)
		return api.StateStopped
	})
	w.at(2*time.Minute, func() {
		s := w.app()
		require.Equal(t, 1, s.Running)
		require.Len(t, s.Instances, 1)
		require.Equal(t, began[1], s.Instances[0].InstanceID)
		w.delete()
	})
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
	require.Len(t, began, 2, "one replacement, and no more")
	require.GreaterOrEqual(t, stoppedAfter, replacedAfter)
}

// A new version that is not ready does not cost the old one, to which the routes lead.
func TestOldVersionStaysUntilTheNewOneIsReady(t *testing.T) {
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		if in.Message.Version != "v1" {
			tellOwner(ctx, in, func(s *api.InstanceStatus) { s.State, s.Unready = api.StateRunning, true })
			if err := workflow.Sleep(ctx, time.Hour); err != nil {
				return api.StateCrashed
			}
			tellOwner(ctx, in, func(s *api.InstanceStatus) { s.State = api.StateRunning })
		}
		return untilStopped(ctx, in)
	})
	next := aMessage()
	next.Version = "v2"
	w.at(time.Minute, func() {
		w.UpdateWorkflow(api.UpdateDesire.Name(), "", &answer{}, api.AppSpec{Message: next, Instances: 1})
	})
	w.at(30*time.Minute, func() {
		require.Len(t, w.app().Instances, 2)
	})
	w.at(2*time.Hour, func() {
		s := w.app()
		require.Len(t, s.Instances, 1)
		require.Equal(t, "v2", s.Instances[0].Version)
		w.delete()
	})
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
}

func TestNewRoutesRestartNothing(t *testing.T) {
	began := 0
	var told []api.UpdateInstance
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		began++
		workflow.Go(ctx, func(ctx workflow.Context) {
			for {
				told = append(told, api.SignalUpdateInstance.Receive(ctx))
			}
		})
		return untilStopped(ctx, in)
	})
	refused := &answer{}
	w.at(time.Minute, func() {
		w.UpdateWorkflow(api.UpdateRoutes.Name(), "", refused, api.RoutesRequest{URIs: []string{"no host name/"}, Version: "v2"})
		w.UpdateWorkflow(api.UpdateRoutes.Name(), "", &answer{}, api.RoutesRequest{URIs: []string{"new.localhost"}, Version: "v2"})
	})
	w.at(2*time.Minute, func() {
		s := w.app()
		require.Equal(t, "v2", s.Version)
		require.Equal(t, []string{"new.localhost"}, s.URIs)
		require.Equal(t, 2, s.Running)
		w.UpdateWorkflow(api.UpdateRoutes.Name(), "", &answer{}, api.RoutesRequest{})
	})
	w.at(3*time.Minute, func() {
		require.Equal(t, "v2", w.app().Version)
		require.Empty(t, w.app().URIs)
		w.delete()
	})
	w.runApp(anApp(2))
	require.NoError(t, w.GetWorkflowError())
	require.Error(t, refused.rejected)
	require.Equal(t, 2, began)
	v2 := api.UpdateInstance{Version: "v2", URIs: []string{"new.localhost"}}
	require.Equal(t, []api.UpdateInstance{v2, v2, {Version: "v2"}, {Version: "v2"}}, told)
}
