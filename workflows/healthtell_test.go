package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/workflows"
)

func (w *world) reroute(request api.RoutesRequest) {
	w.UpdateWorkflow(api.UpdateRoutes.Name(), "", &answer{}, request)
}

// What an instance says of its version and its routes may be older than what it was told.
func TestNewVersionByRoutesRestartsNoStartingInstance(t *testing.T) {
	began := 0
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		began++
		tellOwner(ctx, in, func(s *api.InstanceStatus) { s.State = api.StateStarting })
		if err := workflow.Sleep(ctx, 2*time.Minute); err != nil {
			return api.StateCrashed
		}
		tellOwner(ctx, in, func(s *api.InstanceStatus) { s.State = api.StateRunning }) // As v1, which it began with.
		return untilStopped(ctx, in)
	})
	w.at(time.Minute, func() { w.reroute(api.RoutesRequest{URIs: []string{"new.localhost"}, Version: "v2"}) })
	w.at(time.Hour, func() {
		s := w.app()
		require.Equal(t, 2, s.Running)
		for _, one := range s.Instances {
			require.Equal(t, "v2", one.Version)
			require.True(t, one.Rerouted)
			require.Empty(t, one.URIs, "the app has them once")
		}
		require.Equal(t, []string{"new.localhost"}, s.URIs)
		w.delete()
	})
	w.runApp(anApp(2))
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 2, began)
}

func TestRoutesThatChangeDuringAPlacementReachWhatIsPlaced(t *testing.T) {
	var began []api.StartMessage
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		began = append(began, in.Message)
		return untilStopped(ctx, in)
	})
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		w.reroute(api.RoutesRequest{URIs: []string{"new.localhost"}})
		return activities.PlaceResult{Placed: map[string]activities.Placed{p.Reservations[0].ID: {Node: aNode}}}, nil
	})
	w.at(time.Hour, w.delete)
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
	require.Len(t, began, 1)
	require.Equal(t, []string{"new.localhost"}, began[0].URIs)
}

// More than one task may carry goes out in several.
func TestLargeBatchesAllArrive(t *testing.T) {
	const instances, routes = 40, 800
	large := strings.Repeat("x", 300<<10)
	told := map[string]int{}
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		workflow.Go(ctx, func(ctx workflow.Context) {
			for {
				require.Len(t, api.SignalUpdateInstance.Receive(ctx).URIs, routes)
				told[in.InstanceID]++
			}
		})
		return untilStopped(ctx, in)
	})
	uris := make([]string, routes)
	for n := range uris {
		uris[n] = strings.Repeat("h", 60) + ".localhost"
	}
	w.at(time.Minute, func() {
		require.Equal(t, instances, w.app().Running)
		w.reroute(api.RoutesRequest{URIs: uris})
	})
	w.at(time.Hour, w.delete)
	app := anApp(instances)
	app.Spec.Message.VCAPApplication = map[string]any{"large": large}
	w.runApp(app)
	require.NoError(t, w.GetWorkflowError())
	require.Len(t, told, instances)
	for _, times := range told {
		require.Equal(t, 1, times)
	}
}

// Each start is a part of the history: a run that is full leaves what is missing to the next.
func TestFullRunStartsNothingMore(t *testing.T) {
	const wanted = 7
	w := appWorld(t, func(ctx workflow.Context, _ api.InstanceInput) api.InstanceState {
		told := func() bool { return api.SignalStopInstance.Len(ctx) > 0 }
		_, _ = workflow.AwaitWithTimeout(ctx, time.Hour, told) // The environment waits for all children.
		return api.StateStopped
	})
	places := 0
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		if places++; places == 2 {
			w.suggestWithNext()
		}
		placed := map[string]activities.Placed{}
		for _, r := range p.Reservations {
			placed[r.ID] = activities.Placed{Node: aNode}
		}
		return activities.PlaceResult{Placed: placed}, nil
	})
	app := anApp(wanted)
	app.Spec.Message.VCAPApplication = map[string]any{"large": strings.Repeat("x", 900<<10)}
	w.runApp(app)
	next := nextInput[api.AppInput](w)
	require.Equal(t, 2, places, "what is left is the next run's")
	require.Len(t, next.Instances, 2, "one a round")
	require.Equal(t, wanted, next.Spec.Instances)
	require.Equal(t, api.AppShape, next.Shape)
}

// Who does not know of its routes yet hears of them in the next run.
func TestNextRunTellsOfRoutes(t *testing.T) {
	w := newWorld(t).alone()
	in := anApp(2)
	for index := range 2 {
		in.Instances = append(in.Instances, api.InstanceStatus{
			InstanceID: fmt.Sprint("i-", index), AppID: "hello", Index: index, Version: "v1", State: api.StateRunning, Rerouted: true,
		})
	}
	in.Outdated = []string{"i-1"}
	w.at(time.Minute, w.delete)
	w.at(2*time.Minute, func() {
		for _, status := range w.app().Instances {
			status.State = api.StateStopped
			w.SignalWorkflow(api.SignalInstanceChanged.Name(), status)
		}
	})
	w.runApp(in)
	require.NoError(t, w.GetWorkflowError())
	require.Empty(t, sentOf(w, api.InstanceWorkflowID("i-0"), api.SignalUpdateInstance))
	require.Equal(t, []api.UpdateInstance{{Version: "v1", URIs: []string{"hello.localhost"}}},
		sentOf(w, api.InstanceWorkflowID("i-1"), api.SignalUpdateInstance))
}

// Somebody else stopped the instance: what takes its place does not wait for it to be gone.
func TestInstanceStoppedFromOutsideIsReplacedAtOnce(t *testing.T) {
	began := 0
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		if began++; began > 1 {
			return untilStopped(ctx, in)
		}
		tellOwner(ctx, in, func(s *api.InstanceStatus) { s.State = api.StateStopping })
		if err := workflow.Sleep(ctx, 10*time.Minute); err != nil { // Its hooks take their time.
			return api.StateCrashed
		}
		return api.StateStopped
	})
	w.at(time.Minute, func() {
		require.Equal(t, 2, began)
		require.Equal(t, 1, w.app().Running)
	})
	w.at(time.Hour, func() {
		require.Equal(t, 1, w.app().Running)
		w.delete()
	})
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 2, began)
}

// A run that began with earlier code goes on as that did, up to the next.
func TestRunOfEarlierCodeGoesOnAsItDid(t *testing.T) {
	began := 0
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		if began++; began > 1 {
			return untilStopped(ctx, in)
		}
		tellOwner(ctx, in, func(s *api.InstanceStatus) { s.State = api.StateStopping })
		if err := workflow.Sleep(ctx, 10*time.Minute); err != nil {
			return api.StateCrashed
		}
		return api.StateStopped
	})
	w.at(time.Minute, func() { require.Equal(t, 1, began, "it is replaced when it is gone") })
	w.at(time.Hour, func() {
		require.Equal(t, 2, began)
		w.delete()
	})
	in := anApp(1)
	in.Shape = 0
	w.runApp(in)
	require.NoError(t, w.GetWorkflowError())
}

// A worker that comes back finds an instance that is to leave its node: it has to leave it still.
func TestEvacuatedInstanceThatResumesIsReplaced(t *testing.T) {
	began := 0
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		if began++; began > 1 {
			if err := workflow.Sleep(ctx, time.Minute); err != nil {
				return api.StateCrashed
			}
			return untilStopped(ctx, in)
		}
		tellOwner(ctx, in, func(s *api.InstanceStatus) { s.State, s.Evacuating = api.StateEvacuating, true })
		tellOwner(ctx, in, func(s *api.InstanceStatus) { s.State, s.Evacuating = api.StateResuming, true })
		stop := api.SignalStopInstance.Receive(ctx)
		require.Equal(t, "its node is evacuated, and its replacement runs", stop.Reason)
		return api.StateStopped
	})
	w.at(time.Hour, func() {
		require.Len(t, w.app().Instances, 1)
		w.delete()
	})
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 2, began)
}

// A node that has booked an id keeps to the size that it has booked.
func TestAnotherSizeTakesAnotherID(t *testing.T) {
	w := appWorld(t, untilStopped)
	asked := map[int64]string{}
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		r := p.Reservations[0]
		asked[r.Resources.MemoryMB] = r.ID
		if r.Resources.MemoryMB == 64 {
			return activities.PlaceResult{}, api.Final(api.ErrStartFailed, "nobody knows", nil)
		}
		return activities.PlaceResult{Placed: map[string]activities.Placed{r.ID: {Node: aNode}}}, nil
	})
	larger := anApp(1).Spec
	larger.Message.Limits.MemoryMB = 128
	w.at(time.Minute, func() { w.UpdateWorkflow(api.UpdateDesire.Name(), "", &answer{}, *larger) })
	w.at(time.Hour, w.delete)
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
	require.Len(t, asked, 2)
	require.NotEqual(t, asked[64], asked[128])
}

// Only a workflow that is not there any more has no instance.
func TestInstanceThatCannotBeToldIsToldAgain(t *testing.T) {
	w := emptyWorld(t)
	w.RegisterWorkflowWithOptions(workflows.EvaluateHealth, workflow.RegisterOptions{Name: api.WorkflowEvaluateHealth})
	tries := 0
	w.OnSignalExternalWorkflow(mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(
		func(_, _, _, _ string, _ any) error {
			if tries++; tries < 3 {
				return errors.New("too many signals")
			}
			return nil
		})
	in := anApp(0)
	running := api.InstanceStatus{InstanceID: "i-1", AppID: "hello", Version: "v1", State: api.StateRunning}
	in.Instances = []api.InstanceStatus{running}
	w.at(time.Minute, func() {
		require.Equal(t, 3, tries)
		require.Len(t, w.app().Instances, 1)
		ended := running
		ended.State = api.StateStopped
		w.SignalWorkflow(api.SignalInstanceChanged.Name(), ended)
		w.delete()
	})
	w.runApp(in)
	require.NoError(t, w.GetWorkflowError())
}
