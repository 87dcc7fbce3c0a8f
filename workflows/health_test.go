package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/workflows"
)

// appWorld runs EvaluateHealth with room on one node; behave is what each instance does with its life.
func appWorld(t *testing.T, behave func(ctx workflow.Context, in api.InstanceInput) api.InstanceState) *world {
	t.Helper()
	w := emptyWorld(t)
	w.RegisterWorkflowWithOptions(workflows.EvaluateHealth, workflow.RegisterOptions{Name: api.WorkflowEvaluateHealth})
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		placed := map[string]activities.Placed{}
		for _, r := range p.Reservations {
			placed[r.ID] = activities.Placed{Node: aNode}
		}
		return activities.PlaceResult{Placed: placed}, nil
	})
	w.RegisterWorkflowWithOptions(
		func(ctx workflow.Context, in api.InstanceInput) (api.InstanceStatus, error) {
			status := api.InstanceStatus{
				InstanceID: in.InstanceID, AppID: in.Message.AppID, Version: in.Message.Version,
				Index: in.Message.Index, Node: in.Node, State: api.StateRunning, Since: workflow.Now(ctx),
			}
			tell := func() error {
				return workflow.SignalExternalWorkflow(ctx, in.Owner, "", api.SignalInstanceChanged.Name(), status).Get(ctx, nil)
			}
			if err := tell(); err != nil {
				return status, err
			}
			status.State = behave(ctx, in)
			status.Since = workflow.Now(ctx)
			status.Exit = &api.InstanceExit{Status: 1, Description: api.ExitAppExited}
			return status, tell()
		}, workflow.RegisterOptions{Name: api.WorkflowRunInstance})
	return w
}

func untilStopped(ctx workflow.Context, _ api.InstanceInput) api.InstanceState {
	api.SignalStopInstance.Receive(ctx)
	return api.StateStopped
}

func (w *world) app() api.AppStatus {
	w.t.Helper()
	value, err := w.QueryWorkflow(api.QueryApp.Name())
	require.NoError(w.t, err)
	var status api.AppStatus
	require.NoError(w.t, value.Get(&status))
	return status
}

// answer is what an update is told.
type answer struct {
	rejected error
	done     bool
}

func (a *answer) Accept()                 {}
func (a *answer) Reject(err error)        { a.rejected = err }
func (a *answer) Complete(_ any, _ error) { a.done = true }

func (w *world) scale(n int) *answer {
	a := &answer{}
	w.UpdateWorkflow(api.UpdateScale.Name(), "", a, api.ScaleRequest{Instances: n})
	return a
}

func (w *world) delete() {
	w.UpdateWorkflow(api.UpdateDelete.Name(), "", &answer{}, api.DeleteRequest{})
}

func anApp(instances int) api.AppInput {
	return api.AppInput{AppID: "hello", Shape: api.AppShape, Spec: &api.AppSpec{Message: aMessage(), Instances: instances}}
}

// runApp runs the app's workflow under the id that its instances signal.
func (w *world) runApp(in api.AppInput) {
	w.SetStartWorkflowOptions(startOptions(api.AppWorkflowID(in.AppID)))
	w.ExecuteWorkflow(api.WorkflowEvaluateHealth, in)
}

func TestAppFollowsWhatIsWanted(t *testing.T) {
	w := appWorld(t, untilStopped)
	w.RegisterDelayedCallback(func() { require.Equal(t, 2, w.app().Running); w.scale(3) }, time.Minute)
	w.RegisterDelayedCallback(func() { require.Equal(t, 3, w.app().Running); w.scale(0) }, 2*time.Minute)
	w.RegisterDelayedCallback(func() {
		s := w.app()
		require.Zero(t, s.Running)
		require.Empty(t, s.Instances, "stopped instances are gone")
		w.delete()
	}, 3*time.Minute)
	w.runApp(anApp(2))
	require.NoError(t, w.GetWorkflowError())
}

func TestCrashesAreReplacedAsThePolicySays(t *testing.T) {
	starts := []time.Time{}
	w := appWorld(t, func(ctx workflow.Context, _ api.InstanceInput) api.InstanceState {
		starts = append(starts, workflow.Now(ctx))
		return api.StateCrashed
	})
	w.RegisterDelayedCallback(func() {
		s := w.app()
		require.Equal(t, "instance 0: app instance exited", s.Problem)
		require.NotNil(t, s.RetryAt)
		require.Len(t, s.Instances, 1, "the last that crashed is shown")
		require.Equal(t, api.StateCrashed, s.Instances[0].State)
		w.delete()
	}, 100*time.Second)
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
	require.Len(t, starts, 6)
	var pauses []time.Duration
	for i := 1; i < len(starts); i++ {
		pauses = append(pauses, starts[i].Sub(starts[i-1]).Round(time.Second))
	}
	require.Equal(t, []time.Duration{0, 0, 0, 30 * time.Second, time.Minute}, pauses)
}

func TestRefusedPlacementIsSaidAndTriedAgain(t *testing.T) {
	w := appWorld(t, untilStopped)
	tries := 0
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		tries++
		id := p.Reservations[0].ID
		if tries < 3 {
			return activities.PlaceResult{Refused: map[string]api.Constraint{id: api.ConstraintDisk}}, nil
		}
		return activities.PlaceResult{Placed: map[string]activities.Placed{id: {Node: aNode}}}, nil
	})
	w.RegisterDelayedCallback(func() {
		require.Equal(t, "Not enough disk resource available.", w.app().Problem)
	}, 500*time.Millisecond)
	w.RegisterDelayedCallback(func() {
		require.Equal(t, 1, w.app().Running)
		require.Empty(t, w.app().Problem)
		w.delete()
	}, time.Minute)
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 3, tries)
}

func TestNewVersionRunsBeforeTheOldStops(t *testing.T) {
	var events []string
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		events = append(events, "start "+in.Message.Version)
		api.SignalStopInstance.Receive(ctx)
		events = append(events, "stop "+in.Message.Version)
		return api.StateStopped
	})
	w.RegisterDelayedCallback(func() {
		spec := api.AppSpec{Message: aMessage(), Instances: 1}
		spec.Message.Version = "v2"
		w.UpdateWorkflow(api.UpdateDesire.Name(), "", &answer{}, spec)
	}, time.Minute)
	w.RegisterDelayedCallback(func() {
		require.Equal(t, []string{"start v1", "start v2", "stop v1"}, events)
		w.delete()
	}, 2*time.Minute)
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
}

func TestAppThatGoesTakesNoMoreOrders(t *testing.T) {
	w := appWorld(t, func(ctx workflow.Context, _ api.InstanceInput) api.InstanceState {
		api.SignalStopInstance.Receive(ctx)
		_ = workflow.Sleep(ctx, time.Minute) // It takes its time to stop.
		return api.StateStopped
	})
	w.RegisterDelayedCallback(w.delete, time.Minute)
	var refused *answer
	w.RegisterDelayedCallback(func() { refused = w.scale(5) }, 90*time.Second)
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
	require.ErrorContains(t, refused.rejected, "the app is being deleted")
}

func TestCancelledAppStopsItsInstances(t *testing.T) {
	stopped := 0
	w := appWorld(t, func(ctx workflow.Context, in api.InstanceInput) api.InstanceState {
		s := untilStopped(ctx, in)
		stopped++
		return s
	})
	w.RegisterDelayedCallback(w.CancelWorkflow, time.Minute)
	w.runApp(anApp(2))
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 2, stopped)
}

func TestScaleBeyondTheBoundIsRefused(t *testing.T) {
	w := appWorld(t, untilStopped)
	var refused []*answer
	w.RegisterDelayedCallback(func() {
		refused = append(refused, w.scale(api.MaxInstances+1), w.scale(-1))
	}, time.Minute)
	w.RegisterDelayedCallback(w.delete, 2*time.Minute)
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
	for _, a := range refused {
		require.ErrorContains(t, a.rejected, "instances")
	}
}

func TestAppContinuesAsNewOnlyWithNothingInHand(t *testing.T) {
	w := appWorld(t, func(ctx workflow.Context, _ api.InstanceInput) api.InstanceState {
		told := func() bool { return api.SignalStopInstance.Len(ctx) > 0 }
		_, _ = workflow.AwaitWithTimeout(ctx, time.Hour, told) // The environment waits for all children.
		return api.StateStopped
	})
	w.RegisterDelayedCallback(func() { w.suggestWithNext(); w.scale(1) }, time.Minute)
	w.runApp(anApp(3))
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, w.GetWorkflowError(), &next)
	var in api.AppInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
	require.Equal(t, 1, in.Spec.Instances)
	for _, status := range in.Instances {
		if status.Index > 0 {
			require.Equal(t, api.StateStopping, status.State, "it was told, and the next run knows")
		}
	}
}

func TestWhatIsNoLongerWantedOnceItIsPlacedGivesItsRoomBack(t *testing.T) {
	w := appWorld(t, untilStopped)
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		w.scale(0) // While the placement is under way.
		placed := map[string]activities.Placed{}
		for _, r := range p.Reservations {
			placed[r.ID] = activities.Placed{Node: aNode}
		}
		return activities.PlaceResult{Placed: placed}, nil
	})
	released := 0
	w.OnSignalExternalWorkflow(mock.Anything, api.NodeWorkflowID(aNode), mock.Anything, api.SignalRelease.Name(), mock.Anything).
		Return(func(_, _, _, _ string, _ any) error { released++; return nil })
	w.RegisterDelayedCallback(w.delete, time.Minute)
	w.runApp(anApp(2))
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 2, released)
}

func TestPlacementWhoseOutcomeIsUnknownIsTriedUnderTheSameIDs(t *testing.T) {
	w := appWorld(t, untilStopped)
	var asked []string
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		id := p.Reservations[0].ID
		asked = append(asked, id)
		if len(asked) <= 6 { // As often as the retry policy tries.
			return activities.PlaceResult{}, errors.New("nobody knows")
		}
		return activities.PlaceResult{Placed: map[string]activities.Placed{id: {Node: aNode}}}, nil
	})
	w.RegisterDelayedCallback(w.delete, 10*time.Minute)
	w.runApp(anApp(1))
	require.NoError(t, w.GetWorkflowError())
	require.Len(t, asked, 7)
	for _, id := range asked {
		require.Equal(t, asked[0], id)
	}
}
