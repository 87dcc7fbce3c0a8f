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
	works(w, activities.FetchPackages, activities.FetchResult{})
	works(w, activities.BuildApp, activities.BuildResult{Result: runspec.Result{
		DetectedBuildpack: "Go", BuildpackKey: "go", StartCommand: "./web", DropletSHA1: aSHA1,
		Procfile: map[string]string{"web": "./web"},
	}})
	works(w, activities.UploadDroplet, activities.UploadResult{})
	works(w, activities.DestroyContainer, activities.None{})
	works(w, activities.DiscardPackages, activities.None{})
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
	require.Equal(t, times, count["DestroyContainer"])
	require.Equal(t, times, count["DiscardPackages"])
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
	require.Equal(t, []string{
		"Place", "FetchPackages", "BuildApp", "UploadDroplet", "DestroyContainer", "DiscardPackages", "ReportStaging",
	}, w.called())
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
			does(w, activities.FetchPackages, func(context.Context, activities.FetchParams) (activities.FetchResult, error) {
				return activities.FetchResult{}, unreachable
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

func TestStagingThatCannotBeReportedFails(t *testing.T) {
	w, _ := stagingWorld(t)
	tries := 0
	does(w, activities.ReportStaging, func(context.Context, activities.ReportParams) (activities.None, error) {
		tries++
		return activities.None{}, api.Transient(api.ErrControllerUnreachable, "the cloud controller cannot be reached", nil)
	})
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
	require.Equal(t, api.ErrStager, api.Explain(w.GetWorkflowError(), "").Type)
	require.Equal(t, 3, tries, "the reference's three tries in all")
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
	require.NotContains(t, w.called(), "DestroyContainer", "nobody is there to do it")
}

func TestCancelledStagingLeavesNothing(t *testing.T) {
	w, reports := stagingWorld(t)
	does(w, activities.BuildApp, func(ctx context.Context, _ activities.BuildParams) (activities.BuildResult, error) {
		<-ctx.Done()
		return activities.BuildResult{}, ctx.Err()
	})
	w.SetTestTimeout(10 * time.Second)
	w.RegisterDelayedCallback(w.CancelWorkflow, 0)
	w.ExecuteWorkflow(api.WorkflowStageApp, api.StageInput{Request: aRequest()})
	require.True(t, temporal.IsCanceledError(w.GetWorkflowError()))
	require.Len(t, *reports, 1)
	require.Equal(t, "Error staging: task stopped", (*reports)[0].Error)
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
