package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

func anInstance() api.InstanceInput {
	return api.InstanceInput{
		InstanceID: "i-1", Node: aNode, Message: aMessage(), Owner: api.AppWorkflowID("hello"), Shape: api.InstanceShape,
	}
}

// runInstance runs an instance whose activities work, and gives what it ended as.
func runInstance(t *testing.T, arrange func(*world)) (*world, api.InstanceStatus) {
	t.Helper()
	w := newWorld(t).alone()
	works(w, activities.StartInstance, activities.StartResult{Created: activities.CreateResult{HostPort: 61001, ContainerPort: 61001, Address: "127.0.0.1:61001"}})
	works(w, activities.RetireInstance, activities.None{})
	arrange(w)
	w.ExecuteWorkflow(api.WorkflowRunInstance, anInstance())
	require.True(t, w.IsWorkflowCompleted())
	require.NoError(t, w.GetWorkflowError())
	var ended api.InstanceStatus
	require.NoError(t, w.GetWorkflowResult(&ended))
	require.Equal(t, api.StateDeleted, ended.State)
	require.Equal(t, []api.ReleaseRequest{{IDs: []string{"i-1"}}}, sentOf(w, api.NodeWorkflowID(aNode), api.SignalRelease),
		"its room is given back exactly once, whatever happened")
	return w, ended
}

func states(w *world) []api.InstanceState {
	var heard []api.InstanceState
	for _, status := range sentOf(w, api.AppWorkflowID("hello"), api.SignalInstanceChanged) {
		heard = append(heard, status.State)
	}
	return heard
}

func TestInstanceStops(t *testing.T) {
	var retired activities.RetireParams
	w, ended := runInstance(t, func(w *world) {
		does(w, activities.RetireInstance, func(_ context.Context, p activities.RetireParams) (activities.None, error) {
			retired = p
			return activities.None{}, nil
		})
		w.RegisterDelayedCallback(func() {
			value, err := w.QueryWorkflow(api.QueryInstance.Name())
			require.NoError(t, err)
			var status api.InstanceStatus
			require.NoError(t, value.Get(&status))
			require.Equal(t, api.StateRunning, status.State)
			require.Equal(t, "127.0.0.1:61001", status.Address)
			w.SignalWorkflow(api.SignalStopInstance.Name(), api.StopInstance{Reason: "test"})
		}, time.Minute)
	})
	require.Equal(t, []api.InstanceState{api.StateRunning, api.StateStopped}, states(w))
	require.Equal(t, api.ExitStopped, ended.Exit.Description)
	require.True(t, retired.Graceful)
	require.False(t, retired.KeepLogs)
	require.EqualValues(t, 61001, retired.Created.HostPort)
}

func TestInstanceCrashes(t *testing.T) {
	var retired activities.RetireParams
	w, ended := runInstance(t, func(w *world) {
		does(w, activities.RetireInstance, func(_ context.Context, p activities.RetireParams) (activities.None, error) {
			retired = p
			return activities.None{}, nil
		})
		w.RegisterDelayedCallback(func() {
			w.SignalWorkflow(api.SignalInstanceExited.Name(), api.InstanceExit{Status: 7, Description: api.ExitAppExited})
		}, time.Minute)
	})
	require.Equal(t, []api.InstanceState{api.StateRunning, api.StateCrashed}, states(w))
	require.Equal(t, &api.InstanceExit{Status: 7, Description: api.ExitAppExited}, ended.Exit)
	require.False(t, retired.Graceful, "there is nothing left to stop")
	require.True(t, retired.KeepLogs)
}

func TestInstanceThatNeverStartsIsTakenDown(t *testing.T) {
	w, ended := runInstance(t, func(w *world) {
		does(w, activities.StartInstance, func(context.Context, activities.StartParams) (activities.StartResult, error) {
			return activities.StartResult{}, api.Final(api.ErrStartFailed, api.ExitHealthCheck, nil)
		})
	})
	require.Equal(t, []api.InstanceState{api.StateCrashed}, states(w))
	require.Equal(t, api.ExitHealthCheck, ended.Exit.Description)
	require.Equal(t, []string{"StartInstance", "RetireInstance"}, w.called())
}

func TestInstanceThatEndsWhileItStartsKeepsItsStatus(t *testing.T) {
	exit := api.InstanceExit{Status: 3, Description: api.ExitAppExited}
	_, ended := runInstance(t, func(w *world) {
		does(w, activities.StartInstance, func(context.Context, activities.StartParams) (activities.StartResult, error) {
			return activities.StartResult{}, api.StartFailed(exit, nil)
		})
	})
	require.Equal(t, &exit, ended.Exit)
}

func TestInstanceWithoutItsDropletSaysSo(t *testing.T) {
	w, ended := runInstance(t, func(w *world) {
		does(w, activities.StartInstance, func(context.Context, activities.StartParams) (activities.StartResult, error) {
			return activities.StartResult{}, api.Final(api.ErrDroplet, "the droplet is not what its SHA-1 says", nil)
		})
	})
	require.Equal(t, "the droplet is not what its SHA-1 says", ended.Exit.Description)
	require.Equal(t, []string{"StartInstance", "RetireInstance"}, w.called())
}

func TestStopEndsAStartAtOnce(t *testing.T) {
	w, ended := runInstance(t, func(w *world) {
		does(w, activities.StartInstance, func(ctx context.Context, _ activities.StartParams) (activities.StartResult, error) {
			<-ctx.Done() // An app that never becomes healthy.
			return activities.StartResult{}, ctx.Err()
		})
		w.SetTestTimeout(10 * time.Second)
		w.RegisterDelayedCallback(func() {
			w.SignalWorkflow(api.SignalStopInstance.Name(), api.StopInstance{Reason: "test"})
		}, 0)
	})
	require.Equal(t, []api.InstanceState{api.StateStopped}, states(w))
	require.Equal(t, api.ExitStopped, ended.Exit.Description)
}

func TestInstanceOfALostNodeIsNotCleanedUpThere(t *testing.T) {
	w, ended := runInstance(t, func(w *world) {
		w.RegisterDelayedCallback(func() {
			w.SignalWorkflow(api.SignalNodeLost.Name(), api.NodeLost{Node: aNode})
		}, time.Minute)
	})
	require.Equal(t, []api.InstanceState{api.StateRunning, api.StateCrashed}, states(w))
	require.Equal(t, api.ExitNodeLost, ended.Exit.Description)
	require.NotContains(t, w.called(), "RetireInstance")
}

func TestCancelledInstanceIsStopped(t *testing.T) {
	w, ended := runInstance(t, func(w *world) {
		w.RegisterDelayedCallback(w.CancelWorkflow, time.Minute)
	})
	require.Equal(t, []api.InstanceState{api.StateRunning, api.StateStopped}, states(w))
	require.Equal(t, api.ExitStopped, ended.Exit.Description)
	require.Contains(t, w.called(), "RetireInstance")
}

func TestInvalidInstanceIsRefused(t *testing.T) {
	w := newWorld(t).alone()
	in := anInstance()
	in.Message.SHA1 = "../../etc/passwd"
	w.ExecuteWorkflow(api.WorkflowRunInstance, in)
	require.Error(t, w.GetWorkflowError())
	require.Equal(t, api.ErrInvalidRequest, api.Explain(w.GetWorkflowError(), "").Type)
	require.Empty(t, w.called())
}

func TestStopThatComesWhileACrashIsCleanedUpIsTooLate(t *testing.T) {
	w, ended := runInstance(t, func(w *world) {
		does(w, activities.RetireInstance, func(context.Context, activities.RetireParams) (activities.None, error) {
			w.SignalWorkflow(api.SignalStopInstance.Name(), api.StopInstance{Reason: "test"})
			return activities.None{}, nil
		})
		w.RegisterDelayedCallback(func() {
			w.SignalWorkflow(api.SignalInstanceExited.Name(), api.InstanceExit{Status: 7, Description: api.ExitAppExited})
		}, time.Minute)
	})
	require.Equal(t, []api.InstanceState{api.StateRunning, api.StateCrashed}, states(w))
	require.Equal(t, 7, ended.Exit.Status)
}
