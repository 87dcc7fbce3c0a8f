package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/runspec"
)

func aRequest() api.StagingRequest {
	return api.StagingRequest{
		AppID: "hello", TaskID: "t-1", Stack: "host",
		DownloadURI: "http://cc.localhost/package", UploadURI: "http://cc.localhost/upload",
		Properties:      api.StagingProperties{Resources: api.Limits{MemoryMB: 256, DiskMB: 512}},
		AdminBuildpacks: []api.AdminBuildpack{{Key: "go", URL: "http://cc.localhost/go.zip"}},
	}
}

// stagingWorld has everything work.
func stagingWorld(t *testing.T) (*world, *[]api.StagingResult) {
	t.Helper()
	w := newWorld(t).alone()
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		placed := map[string]activities.Placed{}
		for _, r := range p.Reservations {
			placed[r.ID] = activities.Placed{Node: aNode, FilesURL: "http://node.localhost"}
		}
		return activities.PlaceResult{Placed: placed}, nil
	})
	works(w, activities.SetUpStaging, activities.SetUpResult{})
	works(w, activities.BuildApp, activities.BuildResult{Result: runspec.Result{
		DetectedBuildpack: "Go", BuildpackKey: "go", StartCommand: "./web", DropletSHA1: aSHA1,
		Procfile: map[string]string{"web": "./web"},
	}})
	works(w, activities.UploadDroplet, activities.UploadResult{})
	works(w, activities.CleanUpStaging, activities.None{})
	var reports []api.StagingResult
	does(w, activities.ReportStaging, func(_ context.Context, p activities.ReportParams) (activities.None, error) {
		reports = append(reports, p.Result)
		return activities.None{}, nil
	})
	return w, &reports
}

// requireCleanedUp checks that nothing of the staging is left.
func requireCleanedUp(t *testing.T, w *world, times int) {
	t.Helper()
	count := map[string]int{}
	for _, call := range w.called() {
		count[call]++
	}
	require.Equal(t, times, count["CleanUpStaging"])
	requireReleased(t, w, times)
}

func requireReleased(t *testing.T, w *world, times int) {
	t.Helper()
	released := 0
	for _, node := range []string{aNode, "1-node", "2-node"} {
		released += len(sentOf(w, api.NodeWorkflowID(node), api.SignalRelease))
	}
	require.Equal(t, times, released, "each reservation is given back once")
}

func TestStaging(t *testing.T) {
	w, reports := stagingWorld(t)
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
	require.NoError(t, w.GetWorkflowError())
	var result api.StagingResult
	require.NoError(t, w.GetWorkflowResult(&result))
	require.Equal(t, api.StagingResult{
		AppID: "hello", TaskID: "t-1", NodeID: aNode, DetectedBuildpack: "Go", BuildpackKey: "go",
		DropletSHA1: aSHA1, DetectedStartCommand: "./web", Procfile: map[string]string{"web": "./web"},
	}, result)
	require.Equal(t, []api.StagingResult{result}, *reports)
	calls := w.called()
	require.Equal(t, []string{"Place", "SetUpStaging", "BuildApp", "UploadDroplet"}, calls[:4])
	require.ElementsMatch(t, []string{"CleanUpStaging", "ReportStaging"}, calls[4:], "the two do not wait for each other")
	requireCleanedUp(t, w, 1)
}

func TestStagingFailures(t *testing.T) {
	unreachable := api.Transient(api.ErrControllerUnreachable, "the cloud controller cannot be reached", errors.New("refused"))
	for _, c := range []struct {
		name  string
		fault func(*world)
		want  api.ErrorInfo
		clean int
	}{
		{"no room", func(w *world) {
			does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
				return activities.PlaceResult{Refused: map[string]api.Constraint{p.Reservations[0].ID: api.ConstraintMemory}}, nil
			})
		}, api.ErrorInfo{Type: api.ErrInsufficientResources, Message: "Not enough memory resource available."}, 0},
		{"no package", func(w *world) {
			does(w, activities.SetUpStaging, func(context.Context, activities.SetUpParams) (activities.SetUpResult, error) {
				return activities.SetUpResult{}, unreachable
			})
		}, api.ErrorInfo{Type: api.ErrStager, Message: "the cloud controller cannot be reached"}, 1},
		{"compile fails", func(w *world) {
			does(w, activities.BuildApp, func(context.Context, activities.BuildParams) (activities.BuildResult, error) {
				return activities.BuildResult{}, api.Final(api.ErrBuildpackCompile, "App staging failed in the buildpack compile phase", nil)
			})
		}, api.ErrorInfo{Type: api.ErrBuildpackCompile, Message: "App staging failed in the buildpack compile phase"}, 1},
		{"no upload", func(w *world) {
			does(w, activities.UploadDroplet, func(context.Context, activities.UploadParams) (activities.UploadResult, error) {
				return activities.UploadResult{}, unreachable
			})
		}, api.ErrorInfo{Type: api.ErrStager, Message: "the cloud controller cannot be reached"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, reports := stagingWorld(t)
			c.fault(w)
			w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
			require.Equal(t, c.want, api.Explain(w.GetWorkflowError(), ""))
			require.Len(t, *reports, 1)
			require.Equal(t, &c.want, (*reports)[0].ErrorInfo, "the cloud controller is told the same")
			require.Empty(t, (*reports)[0].DropletSHA1)
			requireCleanedUp(t, w, c.clean)
		})
	}
}

func TestStagingIsReportedForAsLongAsTheNodeSays(t *testing.T) {
	for name, c := range map[string]struct{ said, want time.Duration }{
		"by default": {0, 15 * time.Minute},
		"configured": {time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := stagingWorld(t)
			does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
				return activities.PlaceResult{Placed: map[string]activities.Placed{
					p.Reservations[0].ID: {Node: aNode, CompletionPatience: c.said},
				}}, nil
			})
			does(w, activities.ReportStaging, func(ctx context.Context, _ activities.ReportParams) (activities.None, error) {
				require.Equal(t, c.want, activity.GetInfo(ctx).ScheduleToCloseTimeout)
				return activities.None{}, api.Transient(api.ErrControllerUnreachable, "the cloud controller cannot be reached", nil)
			})
			w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
			require.Equal(t, api.ErrStager, api.Explain(w.GetWorkflowError(), "").Type)
			status := stagingStatus(t, w)
			require.Equal(t, aSHA1, status.Result.DropletSHA1, "the outcome is not lost")
			requireCleanedUp(t, w, 1)
		})
	}
}

func TestStagingIsReportedOnceTheControllerIsBack(t *testing.T) {
	w, _ := stagingWorld(t)
	tries := 0
	does(w, activities.ReportStaging, func(_ context.Context, p activities.ReportParams) (activities.None, error) {
		require.Equal(t, "t-1", p.Result.TaskID)
		if tries++; tries < 8 {
			return activities.None{}, api.Transient(api.ErrControllerUnreachable, "the cloud controller cannot be reached", nil)
		}
		return activities.None{}, nil
	})
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 8, tries)
}

// stagingStatus is what the staging answers to a query.
func stagingStatus(t *testing.T, w *world) api.StagingStatus {
	t.Helper()
	value, err := w.QueryWorkflow(api.QueryStaging.Name())
	require.NoError(t, err)
	var status api.StagingStatus
	require.NoError(t, value.Get(&status))
	return status
}

func TestSetUpIsSeen(t *testing.T) {
	w, _ := stagingWorld(t)
	does(w, activities.SetUpStaging, func(context.Context, activities.SetUpParams) (activities.SetUpResult, error) {
		require.Nil(t, stagingStatus(t, w).SetUp)
		return activities.SetUpResult{}, nil
	})
	does(w, activities.BuildApp, func(context.Context, activities.BuildParams) (activities.BuildResult, error) {
		status := stagingStatus(t, w)
		require.NotNil(t, status.SetUp)
		require.Equal(t, api.StagingBuilding, status.Phase)
		require.Equal(t, "http://node.localhost", status.FilesURL)
		return activities.BuildResult{}, nil
	})
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
	require.NoError(t, w.GetWorkflowError())
}

// TestTemporalWasAway: an activity that nobody took for a while is asked for once more before its node counts as lost.
func TestTemporalWasAway(t *testing.T) {
	w, _ := stagingWorld(t)
	tries := 0
	does(w, activities.BuildApp, func(context.Context, activities.BuildParams) (activities.BuildResult, error) {
		if tries++; tries == 1 {
			return activities.BuildResult{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
		}
		return activities.BuildResult{}, nil
	})
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 2, tries)
	requireCleanedUp(t, w, 1)
}

func TestLostNodeMeansAnother(t *testing.T) {
	w, _ := stagingWorld(t)
	nodes := []string{"0-node", "1-node", "2-node"}
	var avoided [][]string
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		avoided = append(avoided, p.Avoid)
		return activities.PlaceResult{Placed: map[string]activities.Placed{
			p.Reservations[0].ID: {Node: nodes[len(avoided)-1]},
		}}, nil
	})
	does(w, activities.BuildApp, func(context.Context, activities.BuildParams) (activities.BuildResult, error) {
		return activities.BuildResult{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
	})
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
	require.Equal(t, api.ErrStager, api.Explain(w.GetWorkflowError(), "").Type)
	require.Equal(t, [][]string{nil, {"0-node"}, {"0-node", "1-node"}}, avoided)
	requireReleased(t, w, 3)
	require.NotContains(t, w.called(), "CleanUpStaging", "nobody is there to do it")
}

func TestCancelledStagingLeavesNothing(t *testing.T) {
	w, reports := stagingWorld(t)
	does(w, activities.BuildApp, func(ctx context.Context, _ activities.BuildParams) (activities.BuildResult, error) {
		w.CancelWorkflow()
		<-ctx.Done()
		return activities.BuildResult{}, ctx.Err()
	})
	w.SetTestTimeout(10 * time.Second)
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
	require.True(t, temporal.IsCanceledError(w.GetWorkflowError()))
	require.Len(t, *reports, 1)
	require.Equal(t, "Error staging: task stopped", (*reports)[0].Error)
	require.Contains(t, w.called(), "BuildApp")
	requireCleanedUp(t, w, 1)
}

// TestRoomOfASupersededStagingIsWaitedFor: it comes free a moment later.
func TestRoomOfASupersededStagingIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		patience time.Duration
		tries    int
		fails    bool
	}{"waited for": {time.Minute, 4, false}, "in vain": {time.Second, 3, true}, "not at all": {0, 1, true}} {
		t.Run(name, func(t *testing.T) {
			w, _ := stagingWorld(t)
			tries := 0
			does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
				id := p.Reservations[0].ID
				if tries++; tries < 4 {
					return activities.PlaceResult{Refused: map[string]api.Constraint{id: api.ConstraintMemory}}, nil
				}
				return activities.PlaceResult{Placed: map[string]activities.Placed{id: {Node: aNode}}}, nil
			})
			w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest(), RoomPatience: c.patience})
			require.Equal(t, c.tries, tries)
			if c.fails {
				require.Equal(t, api.ErrInsufficientResources, api.Explain(w.GetWorkflowError(), "").Type)
				return
			}
			require.NoError(t, w.GetWorkflowError())
		})
	}
}

// TestNodeThatItsLedgerGaveUp: the build may go on there, but nothing is booked for it any more.
func TestNodeThatItsLedgerGaveUp(t *testing.T) {
	w, _ := stagingWorld(t)
	nodes := []string{aNode, "1-node"}
	var avoided [][]string
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		avoided = append(avoided, p.Avoid)
		return activities.PlaceResult{Placed: map[string]activities.Placed{
			p.Reservations[0].ID: {Node: nodes[len(avoided)-1]},
		}}, nil
	})
	builds := 0
	does(w, activities.BuildApp, func(ctx context.Context, _ activities.BuildParams) (activities.BuildResult, error) {
		if builds++; builds == 1 {
			w.SignalWorkflow(api.SignalNodeLost.Name(), api.NodeLost{Node: aNode})
			<-ctx.Done()
			return activities.BuildResult{}, ctx.Err()
		}
		return activities.BuildResult{Result: runspec.Result{DropletSHA1: aSHA1}}, nil
	})
	w.SetTestTimeout(20 * time.Second)
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, [][]string{nil, {aNode}}, avoided)
	requireReleased(t, w, 2)
}

// TestCancelAfterTheOutcomeWasToldChangesNothing: the controller was told of a success, and so the instance is started.
func TestCancelAfterTheOutcomeWasToldChangesNothing(t *testing.T) {
	w, _ := stagingWorld(t)
	started := 0
	w.OnWorkflow(api.WorkflowRunInstance, anyContext, anyInstance).Return(
		func(_ workflowContext, _ api.InstanceInput) (api.InstanceStatus, error) {
			started++
			return api.InstanceStatus{}, nil
		})
	does(w, activities.ReportStaging, func(context.Context, activities.ReportParams) (activities.None, error) {
		w.CancelWorkflow()
		return activities.None{}, nil
	})
	request, message := aRequest(), aMessage()
	message.SHA1, message.ExecutableURI = "", "" // as a controller has it that has no droplet yet
	request.StartMessage = &message
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: request})
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 1, started)
	requireCleanedUp(t, w, 1)
}

func TestStartMessageIsStartedOnTheSameNode(t *testing.T) {
	w, _ := stagingWorld(t)
	var started api.InstanceInput
	w.OnWorkflow(api.WorkflowRunInstance, anyContext, anyInstance).Return(
		func(_ workflowContext, in api.InstanceInput) (api.InstanceStatus, error) {
			started = in
			return api.InstanceStatus{}, nil
		})
	request := aRequest()
	message := aMessage()
	message.SHA1 = ""
	request.StartMessage = &message
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: request})
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, aNode, started.Node)
	require.Equal(t, aSHA1, started.Message.SHA1, "the new droplet")
	require.Empty(t, started.Owner)
}

func TestInvalidStagingIsRefusedBeforeAnythingBegins(t *testing.T) {
	w, _ := stagingWorld(t)
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{})
	require.Equal(t, api.ErrStaging, api.Explain(w.GetWorkflowError(), "").Type)
	require.Equal(t, []string{"ReportStaging"}, w.called())
}

func TestCancelDuringPlacementGivesTheRoomBack(t *testing.T) {
	w, reports := stagingWorld(t)
	does(w, activities.Place, func(_ context.Context, p activities.PlaceParams) (activities.PlaceResult, error) {
		w.CancelWorkflow()
		return activities.PlaceResult{Placed: map[string]activities.Placed{p.Reservations[0].ID: {Node: aNode}}}, nil
	})
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
	require.True(t, temporal.IsCanceledError(w.GetWorkflowError()))
	requireReleased(t, w, 1)
	require.Equal(t, api.StagingTaskStopped, (*reports)[0].Error)
}
