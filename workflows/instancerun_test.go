package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

const anotherNode = "1-node"

// An earlier try of Place may have left room booked on another node, whose troubles are none of the instance's.
func TestInstanceHearsOnlyOfItsOwnNode(t *testing.T) {
	_, ended := runInstance(t, func(w *world) {
		w.at(time.Minute, func() {
			w.SignalWorkflow(api.SignalNodeLost.Name(), api.NodeLost{Node: anotherNode})
			w.SignalWorkflow(api.SignalEvacuateInstance.Name(), api.EvacuateInstance{Node: anotherNode, BailOut: time.Second})
			w.SignalWorkflow(api.SignalStopInstance.Name(), api.StopInstance{Node: anotherNode})
		})
		w.at(time.Hour, func() {
			w.SignalWorkflow(api.SignalStopInstance.Name(), api.StopInstance{Node: aNode})
		})
	})
	require.Equal(t, []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateRunning, api.StateStopping, api.StateStopped, api.StateDeleted,
	}, changes(ended))
	require.Equal(t, time.Hour, ended.Changes[3].At.Sub(ended.Changes[0].At))
}

// What nodes say before the instance has one counts when it is placed there.
func TestInstanceRemembersWhatItsNodeSaidBeforeItWasPlaced(t *testing.T) {
	for _, one := range []struct {
		node    string
		crashes bool
	}{{aNode, true}, {anotherNode, false}} {
		t.Run(one.node, func(t *testing.T) {
			placed := activities.PlaceResult{Placed: map[string]activities.Placed{"i-1": {Node: aNode}}}
			_, ended := runUnplaced(t, placed, func(w *world) {
				does(w, activities.Place, func(context.Context, activities.PlaceParams) (activities.PlaceResult, error) {
					w.SignalWorkflow(api.SignalNodeLost.Name(), api.NodeLost{Node: one.node})
					return placed, nil
				})
				stopAt(w, time.Hour)
			})
			if one.crashes {
				require.Equal(t, api.ExitNodeLost, ended.Exit.Description)
			} else {
				require.Equal(t, api.ExitStopped, ended.Exit.Description)
			}
		})
	}
}

func TestInstanceContinuesAsNew(t *testing.T) {
	w := newWorld(t).alone()
	works(w, activities.StartInstance, activities.StartResult{
		Created:      activities.CreateResult{HostPort: 61001, ContainerPort: 8080, Address: "127.0.0.1:61001"},
		LaunchResult: activities.LaunchResult{Job: 7},
	})
	works(w, activities.RouteInstance, activities.None{})
	w.at(time.Minute, func() {
		w.SignalWorkflow(api.SignalUpdateInstance.Name(), api.UpdateInstance{Version: "v2", URIs: []string{"new.localhost"}})
	})
	w.at(2*time.Minute, func() {
		w.SignalWorkflow(api.SignalEvacuateInstance.Name(), api.EvacuateInstance{Reason: "a new kernel", BailOut: time.Hour})
	})
	w.at(3*time.Minute, func() {
		// Both come in the task in which the run finds that it may continue.
		w.suggestWithNext()
		w.SignalWorkflow(api.SignalInstanceReadiness.Name(), api.InstanceReadiness{Ready: false})
	})
	w.ExecuteWorkflow(api.WorkflowRunInstance, anInstance())
	in := nextInput[api.InstanceInput](w)
	require.True(t, in.Run.Status.Unready, "what came last is not lost")
	told := sentOf(w, api.AppWorkflowID("hello"), api.SignalInstanceChanged)
	require.True(t, told[len(told)-1].Unready, "nor is what the owner is told")

	w = newWorld(t).alone()
	var retired activities.RetireParams
	does(w, activities.RetireInstance, func(_ context.Context, p activities.RetireParams) (activities.None, error) {
		retired = p
		return activities.None{}, nil
	})
	began := time.Now().Truncate(time.Second)
	w.SetStartTime(began)
	in.Run.BailOut = began.Add(20 * time.Minute)
	w.at(time.Minute, func() {
		value, err := w.QueryWorkflow(api.QueryRunning.Name())
		require.NoError(t, err)
		var running api.RunningInstance
		require.NoError(t, value.Get(&running))
		require.Equal(t, []string{"new.localhost"}, running.URIs)
		require.Equal(t, "v2", running.Status.Version)
		require.Equal(t, api.StateEvacuating, running.Status.State)
		require.EqualValues(t, 61001, running.HostPort)
		require.EqualValues(t, 8080, running.ContainerPort)
		require.EqualValues(t, 7, running.Job)
	})
	w.ExecuteWorkflow(api.WorkflowRunInstance, in)
	require.NoError(t, w.GetWorkflowError())
	var ended api.InstanceStatus
	require.NoError(t, w.GetWorkflowResult(&ended))
	require.Equal(t, []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateRunning, api.StateEvacuating,
		api.StateStopping, api.StateStopped, api.StateDeleted,
	}, changes(ended))
	require.Equal(t, 20*time.Minute, ended.Changes[4].At.Sub(began), "it ends when the first run would have had it end")
	require.Equal(t, activities.CreateResult{HostPort: 61001, ContainerPort: 8080, Address: "127.0.0.1:61001"}, retired.Created)
	require.NotContains(t, w.called(), "StartInstance")
}

func TestInstanceThatEndsAsItIsToContinueEnds(t *testing.T) {
	exit := api.InstanceExit{Status: 4, Description: api.ExitAppExited}
	_, ended := runInstance(t, func(w *world) {
		w.at(time.Minute, func() {
			w.suggestWithNext()
			w.SignalWorkflow(api.SignalInstanceExited.Name(), exit)
		})
	})
	require.Equal(t, &exit, ended.Exit)
}

// What a worker that died in the start has found is older than what the next one says.
func TestOlderReadinessIsNoNews(t *testing.T) {
	at := time.Now()
	_, _ = runInstance(t, func(w *world) {
		does(w, activities.StartInstance, func(context.Context, activities.StartParams) (activities.StartResult, error) {
			w.SignalWorkflow(api.SignalInstanceReadiness.Name(), api.InstanceReadiness{Ready: true, At: at.Add(-time.Second)})
			return activities.StartResult{LaunchResult: activities.LaunchResult{Unready: true, LookedAt: at}}, nil
		})
		unready := func(want bool) func() {
			return func() {
				value, err := w.QueryWorkflow(api.QueryInstance.Name())
				require.NoError(t, err)
				var status api.InstanceStatus
				require.NoError(t, value.Get(&status))
				require.Equal(t, want, status.Unready)
			}
		}
		w.at(time.Minute, unready(true))
		w.at(2*time.Minute, func() {
			w.SignalWorkflow(api.SignalInstanceReadiness.Name(), api.InstanceReadiness{Ready: true, At: at.Add(time.Second)})
		})
		w.at(3*time.Minute, unready(false))
		stopAt(w, time.Hour)
	})
}

// An instance that crashed before it could be stopped keeps its exit and its logs.
func TestCrashBesideAStopKeepsItsExit(t *testing.T) {
	exit := api.InstanceExit{Status: 5, Description: api.ExitAppExited}
	var retired activities.RetireParams
	_, ended := runInstance(t, func(w *world) {
		does(w, activities.RetireInstance, func(_ context.Context, p activities.RetireParams) (activities.None, error) {
			retired = p
			return activities.None{}, nil
		})
		does(w, activities.StartInstance, func(ctx context.Context, _ activities.StartParams) (activities.StartResult, error) {
			w.SignalWorkflow(api.SignalInstanceExited.Name(), exit)
			w.SignalWorkflow(api.SignalStopInstance.Name(), api.StopInstance{})
			<-ctx.Done()
			return activities.StartResult{}, ctx.Err()
		})
	})
	require.Equal(t, &exit, ended.Exit)
	require.True(t, retired.KeepLogs)
	require.False(t, retired.Graceful)
}

// The node says by itself that the instance runs: the workflow does not say it again.
func TestOwnerIsToldOnceThatTheInstanceRuns(t *testing.T) {
	for _, told := range []bool{true, false} {
		w, _ := runInstance(t, func(w *world) {
			does(w, activities.StartInstance, func(_ context.Context, p activities.StartParams) (activities.StartResult, error) {
				require.Equal(t, api.AppWorkflowID("hello"), p.Owner)
				return activities.StartResult{Told: told}, nil
			})
			w.at(time.Minute, func() { w.SignalWorkflow(api.SignalResumeInstance.Name(), api.ResumeInstance{Found: true}) })
			stopAt(w, time.Hour)
		})
		want := []api.InstanceState{api.StateRunning, api.StateRunning, api.StateStopped}
		if told {
			want = want[1:]
		}
		require.Equal(t, want, states(w))
	}
}

// What may still be on the node keeps its room: the node's supervisor gives it back together with the container.
func TestInstanceThatCannotBeTakenDownKeepsItsRoom(t *testing.T) {
	w := newWorld(t).alone()
	works(w, activities.StartInstance, activities.StartResult{})
	asked := 0
	does(w, activities.RetireInstance, func(context.Context, activities.RetireParams) (activities.None, error) {
		asked++
		return activities.None{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
	})
	stopAt(w, time.Minute)
	w.ExecuteWorkflow(api.WorkflowRunInstance, anInstance())
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 2, asked)
	require.Empty(t, sentOf(w, api.NodeWorkflowID(aNode), api.SignalRelease))
}

func TestStopOfAnInstanceEndsWithItsNode(t *testing.T) {
	_, ended := runInstance(t, func(w *world) {
		does(w, activities.RetireInstance, func(ctx context.Context, _ activities.RetireParams) (activities.None, error) {
			w.SignalWorkflow(api.SignalNodeLost.Name(), api.NodeLost{Node: aNode})
			<-ctx.Done()
			return activities.None{}, ctx.Err()
		})
		w.SetTestTimeout(10 * time.Second)
		stopAt(w, time.Minute)
	})
	require.Equal(t, api.ExitStopped, ended.Exit.Description)
}

// A worker that is only cut off comes back as it was and asks for nothing: it is told when it can be.
func TestRoutesWaitForTheWorker(t *testing.T) {
	tries := 0
	_, _ = runInstance(t, func(w *world) {
		does(w, activities.RouteInstance, func(context.Context, activities.RouteParams) (activities.None, error) {
			if tries++; tries < 8 { // As often as the test environment tries nearly.
				return activities.None{}, errors.New("not found again yet")
			}
			return activities.None{}, nil
		})
		w.at(time.Minute, func() {
			w.SignalWorkflow(api.SignalUpdateInstance.Name(), api.UpdateInstance{URIs: []string{"new.localhost"}})
		})
		stopAt(w, time.Hour)
	})
	require.Equal(t, 8, tries)
}
