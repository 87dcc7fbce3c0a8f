package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// at has something done some time after the instance's start.
func (w *world) at(after time.Duration, do func()) { w.RegisterDelayedCallback(do, after) }

func stopAt(w *world, after time.Duration) {
	w.at(after, func() { w.SignalWorkflow(api.SignalStopInstance.Name(), api.StopInstance{Reason: "test"}) })
}

// changes are the states that an instance says it was in.
func changes(status api.InstanceStatus) []api.InstanceState {
	var states []api.InstanceState
	for _, change := range status.Changes {
		states = append(states, change.State)
	}
	return states
}

func TestEveryStateIsKeptWithItsTime(t *testing.T) {
	w, ended := runInstance(t, func(w *world) { stopAt(w, time.Minute) })
	require.Equal(t, []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateRunning, api.StateStopping, api.StateStopped, api.StateDeleted,
	}, changes(ended))
	require.Equal(t, time.Minute, ended.Changes[3].At.Sub(ended.Changes[0].At))
	require.Equal(t, ended.Changes[2].At, ended.RunningSince)
	for _, told := range sentOf(w, api.AppWorkflowID("hello"), api.SignalInstanceChanged) {
		require.Empty(t, told.Changes, "the owner carries no histories of others")
	}
}

func TestInstanceResumes(t *testing.T) {
	w, ended := runInstance(t, func(w *world) {
		w.at(time.Minute, func() { w.SignalWorkflow(api.SignalResumeInstance.Name(), api.ResumeInstance{}) })
		w.at(2*time.Minute, func() { w.SignalWorkflow(api.SignalResumeInstance.Name(), api.ResumeInstance{Found: true}) })
		w.at(3*time.Minute, func() { w.SignalWorkflow(api.SignalResumeInstance.Name(), api.ResumeInstance{Found: true}) })
		stopAt(w, 4*time.Minute)
	})
	require.Equal(t, []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateRunning, api.StateResuming, api.StateRunning,
		api.StateResuming, api.StateRunning, api.StateStopping, api.StateStopped, api.StateDeleted,
	}, changes(ended))
	require.Equal(t, []api.InstanceState{
		api.StateRunning, api.StateResuming, api.StateRunning, api.StateRunning, api.StateStopped,
	}, states(w), "what lasted no moment is not told")
	require.Equal(t, ended.Changes[2].At, ended.RunningSince, "it never stopped running")
}

func TestInstanceThatEndedMeanwhileCrashesWithItsStatus(t *testing.T) {
	exit := api.InstanceExit{Status: 9, Description: api.ExitAppExited}
	_, ended := runInstance(t, func(w *world) {
		w.at(time.Minute, func() { w.SignalWorkflow(api.SignalResumeInstance.Name(), api.ResumeInstance{}) })
		w.at(2*time.Minute, func() { w.SignalWorkflow(api.SignalInstanceExited.Name(), exit) })
	})
	require.Equal(t, &exit, ended.Exit)
	require.Equal(t, []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateRunning, api.StateResuming, api.StateCrashed, api.StateDeleted,
	}, changes(ended))
}

func TestUnhealthyInstanceCrashesForTheFirstReason(t *testing.T) {
	unhealthy := api.InstanceExit{Status: -1, Description: "failed its liveness check"}
	w, ended := runInstance(t, func(w *world) {
		w.at(time.Minute, func() {
			w.SignalWorkflow(api.SignalInstanceUnhealthy.Name(), unhealthy)
			w.SignalWorkflow(api.SignalInstanceExited.Name(), api.InstanceExit{Status: 137, Description: api.ExitAppExited})
		})
	})
	require.Equal(t, &unhealthy, ended.Exit)
	require.Equal(t, []api.InstanceState{api.StateRunning, api.StateCrashed}, states(w))
}

func TestReadinessIsToldAndChangesNoState(t *testing.T) {
	w, ended := runInstance(t, func(w *world) {
		for n, ready := range []bool{false, false, true} {
			w.at(time.Duration(n+1)*time.Minute, func() {
				w.SignalWorkflow(api.SignalInstanceReadiness.Name(), api.InstanceReadiness{Ready: ready})
			})
		}
		stopAt(w, 5*time.Minute)
	})
	var unready []bool
	for _, told := range sentOf(w, api.AppWorkflowID("hello"), api.SignalInstanceChanged) {
		unready = append(unready, told.Unready)
	}
	require.Equal(t, []bool{false, true, false, false}, unready)
	require.NotContains(t, changes(ended), api.StateCrashed)
}

func TestInstanceThatIsNotReadyYetSaysSoFromTheBeginning(t *testing.T) {
	unready := activities.LaunchResult{Unready: true}
	for shape := range api.InstanceShape + 1 {
		w := newWorld(t).alone()
		works(w, activities.CreateInstance, activities.CreateResult{})
		works(w, activities.LaunchInstance, unready)
		works(w, activities.StartInstance, activities.StartResult{LaunchResult: unready})
		works(w, activities.RetireInstance, activities.None{})
		w.at(time.Minute, func() {
			w.SignalWorkflow(api.SignalInstanceReadiness.Name(), api.InstanceReadiness{Ready: true})
		})
		stopAt(w, 2*time.Minute)
		in := anInstance()
		in.Shape = shape
		w.ExecuteWorkflow(api.WorkflowRunInstance, in)
		require.NoError(t, w.GetWorkflowError())
		var told []bool
		for _, status := range sentOf(w, api.AppWorkflowID("hello"), api.SignalInstanceChanged) {
			told = append(told, status.Unready)
		}
		require.Equal(t, []bool{true, false, false}, told)
	}
}

func TestEvacuatedInstanceRunsUntilItIsStopped(t *testing.T) {
	w, ended := runInstance(t, func(w *world) {
		evacuate := api.EvacuateInstance{Reason: "a new kernel", BailOut: time.Hour}
		w.at(time.Minute, func() { w.SignalWorkflow(api.SignalEvacuateInstance.Name(), evacuate) })
		w.at(2*time.Minute, func() { w.SignalWorkflow(api.SignalEvacuateInstance.Name(), evacuate) })
		w.at(3*time.Minute, func() { w.SignalWorkflow(api.SignalResumeInstance.Name(), api.ResumeInstance{Found: true}) })
		stopAt(w, 4*time.Minute)
	})
	require.Equal(t, []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateRunning, api.StateEvacuating, api.StateResuming, api.StateEvacuating,
		api.StateStopping, api.StateStopped, api.StateDeleted,
	}, changes(ended))
	require.Equal(t, []api.InstanceState{
		api.StateRunning, api.StateEvacuating, api.StateEvacuating, api.StateStopped,
	}, states(w))
}

func TestEvacuatedInstanceThatNobodyReplacesEndsInTime(t *testing.T) {
	w, ended := runInstance(t, func(w *world) {
		w.at(time.Minute, func() {
			w.SignalWorkflow(api.SignalEvacuateInstance.Name(), api.EvacuateInstance{BailOut: 10 * time.Minute})
		})
	})
	require.Equal(t, []api.InstanceState{
		api.StateRunning, api.StateEvacuating, api.StateStopping, api.StateStopped,
	}, states(w), "the owner did not tell it to stop, and is told")
	require.Equal(t, 10*time.Minute, ended.Changes[4].At.Sub(ended.Changes[3].At))
}

func TestEvacuationOfAStartingInstanceWaitsForItsStart(t *testing.T) {
	_, ended := runInstance(t, func(w *world) {
		does(w, activities.StartInstance, func(context.Context, activities.StartParams) (activities.StartResult, error) {
			w.SignalWorkflow(api.SignalEvacuateInstance.Name(), api.EvacuateInstance{BailOut: time.Minute})
			return activities.StartResult{}, nil
		})
	})
	require.Equal(t, []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateRunning, api.StateEvacuating,
		api.StateStopping, api.StateStopped, api.StateDeleted,
	}, changes(ended))
}

func TestInstanceTakesOnRoutesAndVersion(t *testing.T) {
	var told []activities.RouteParams
	_, ended := runInstance(t, func(w *world) {
		does(w, activities.RouteInstance, func(_ context.Context, p activities.RouteParams) (activities.None, error) {
			told = append(told, p)
			return activities.None{}, nil
		})
		w.at(time.Minute, func() {
			w.SignalWorkflow(api.SignalUpdateInstance.Name(), api.UpdateInstance{Version: "v2", URIs: []string{"new.localhost"}})
		})
		w.at(2*time.Minute, func() {
			value, err := w.QueryWorkflow(api.QueryRunning.Name())
			require.NoError(t, err)
			var running api.RunningInstance
			require.NoError(t, value.Get(&running))
			require.Equal(t, []string{"new.localhost"}, running.URIs)
			require.Equal(t, "v2", running.Status.Version)
			require.Equal(t, api.CheckPort, running.Liveness.Type)
		})
		stopAt(w, 3*time.Minute)
	})
	require.Equal(t, []activities.RouteParams{{InstanceID: "i-1", URIs: []string{"new.localhost"}, Version: "v2"}}, told)
	require.Equal(t, "v2", ended.Version)
	require.Equal(t, []string{"new.localhost"}, ended.URIs)
}

func TestChangesAreBounded(t *testing.T) {
	_, ended := runInstance(t, func(w *world) {
		for n := range 100 {
			w.at(time.Duration(n+1)*time.Minute, func() {
				w.SignalWorkflow(api.SignalResumeInstance.Name(), api.ResumeInstance{Found: true})
			})
		}
		stopAt(w, 200*time.Minute)
	})
	require.Len(t, ended.Changes, api.MaxStateChanges)
	require.Equal(t, api.StateBorn, ended.Changes[0].State)
	require.Equal(t, api.StateDeleted, ended.Changes[api.MaxStateChanges-1].State)
}

// alone runs an instance that finds a node for itself, or does not.
func runUnplaced(t *testing.T, answer activities.PlaceResult, arrange func(*world)) (*world, api.InstanceStatus) {
	t.Helper()
	w := newWorld(t).alone()
	works(w, activities.Place, answer)
	works(w, activities.StartInstance, activities.StartResult{})
	works(w, activities.RetireInstance, activities.None{})
	arrange(w)
	in := anInstance()
	in.Node, in.Owner = "", ""
	w.ExecuteWorkflow(api.WorkflowRunInstance, in)
	require.NoError(t, w.GetWorkflowError())
	var ended api.InstanceStatus
	require.NoError(t, w.GetWorkflowResult(&ended))
	return w, ended
}

func TestInstanceWithoutANodeFindsOne(t *testing.T) {
	placed := activities.PlaceResult{Placed: map[string]activities.Placed{"i-1": {Node: aNode, FilesURL: "http://f"}}}
	w, ended := runUnplaced(t, placed, func(w *world) { stopAt(w, time.Minute) })
	require.Equal(t, aNode, ended.Node)
	require.Equal(t, "http://f", ended.FilesURL)
	require.Equal(t, []string{"Place", "StartInstance", "RetireInstance"}, w.called())
	require.Equal(t, []api.ReleaseRequest{{IDs: []string{"i-1"}}}, sentOf(w, api.NodeWorkflowID(aNode), api.SignalRelease))
}

func TestInstanceWithoutRoomCrashesWithTheWords(t *testing.T) {
	refused := activities.PlaceResult{Refused: map[string]api.Constraint{"i-1": api.ConstraintMemory}}
	w, ended := runUnplaced(t, refused, func(*world) {})
	require.Equal(t, "Not enough memory resource available.", ended.Exit.Description)
	require.Equal(t, []api.InstanceState{api.StateBorn, api.StateCrashed, api.StateDeleted}, changes(ended))
	require.Equal(t, []string{"Place"}, w.called(), "there is no node to take anything down on")
}

func TestStopWhileItLooksForANodeGivesTheRoomBack(t *testing.T) {
	placed := activities.PlaceResult{Placed: map[string]activities.Placed{"i-1": {Node: aNode}}}
	w, ended := runUnplaced(t, placed, func(w *world) {
		does(w, activities.Place, func(context.Context, activities.PlaceParams) (activities.PlaceResult, error) {
			w.SignalWorkflow(api.SignalStopInstance.Name(), api.StopInstance{})
			return placed, nil
		})
	})
	require.Equal(t, []api.InstanceState{api.StateBorn, api.StateStopping, api.StateStopped, api.StateDeleted}, changes(ended))
	require.Equal(t, []string{"Place"}, w.called())
	require.Equal(t, []api.ReleaseRequest{{IDs: []string{"i-1"}}}, sentOf(w, api.NodeWorkflowID(aNode), api.SignalRelease))
}
