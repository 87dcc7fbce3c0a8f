package workflows

import (
	"cmp"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// maxStagingNodes is how many nodes a staging may lose before it fails.
const maxStagingNodes = 3

// StageApp stages one app: places it, fetches what it needs, builds it, uploads the droplet and tells the cloud
// controller. A node that is lost means another, up to maxStagingNodes. When the request carries a start message,
// that instance is started on the same node at the end.
//
//	PLACING -> FETCHING -> BUILDING -> UPLOADING -> REPORTING -> DONE
//	   |          |  set up   |           |            ^  |
//	   +----------+-----------+-----------+--- fault --+  +----> FAILED
//
// It answers api.QueryStaging. A staging that fails, fails the workflow with an error whose type is the wire's
// error_info.type and whose message is for the user; the cloud controller is told the same. A cancelled one is told
// to it as api.StagingTaskStopped. Container, workspace and reservation are gone at the end in every case.
func StageApp(ctx workflow.Context, in api.StageInput) (api.StagingResult, error) {
	s := newStaging(ctx, in.Request)
	err := api.QueryStaging.Handle(ctx, func() (api.StagingStatus, error) { return s.status, nil })
	if err != nil {
		return api.StagingResult{}, err
	}
	if err = s.request.Validate(); err == nil {
		err = s.stage(ctx)
	}
	return s.finish(ctx, err)
}

// staging is what a run of StageApp knows.
type staging struct {
	request api.StagingRequest
	status  api.StagingStatus
	result  api.StagingResult
	// here is set while there may be something of the staging on the node that status names.
	here bool
	// patience is how long the cloud controller is tried.
	patience time.Duration
}

func newStaging(ctx workflow.Context, r api.StagingRequest) *staging {
	return &staging{
		request: r,
		status: api.StagingStatus{
			AppID: r.AppID, TaskID: r.TaskID, Phase: api.StagingPlacing, Since: workflow.Now(ctx),
		},
		result:   api.StagingResult{AppID: r.AppID, TaskID: r.TaskID},
		patience: completionPatience,
	}
}

// stage tries nodes until one is not lost on the way.
func (s *staging) stage(ctx workflow.Context) error {
	var lost []string
	for {
		err := s.place(ctx, lost)
		if err != nil {
			return err
		}
		err = s.stageHere(ctx)
		if !nodeGone(err) {
			return err
		}
		s.release(ctx)
		s.here, s.status.SetUp = false, nil
		lost = append(lost, s.status.Node)
		if len(lost) == maxStagingNodes {
			return api.Final(api.ErrStager, fmt.Sprintf("the nodes that staged it were lost, %d of them", len(lost)), err)
		}
		workflow.GetLogger(ctx).Warn("the node was lost, trying another", "node", s.status.Node)
	}
}

// place books room for the staging and makes its node the one that s.status names.
func (s *staging) place(ctx workflow.Context, avoid []string) error {
	s.enter(ctx, api.StagingPlacing)
	handle := api.StagingHandle(s.request.TaskID)
	placed, refused, err := place(ctx, activities.PlaceParams{
		Stack: s.request.Stack,
		Avoid: avoid,
		Reservations: []api.Reservation{{
			ID: handle, Kind: api.KindStaging, AppID: s.request.AppID, Resources: s.request.Needs(),
			Workflow: workflow.GetInfo(ctx).WorkflowExecution.ID,
		}},
	})
	switch {
	case err != nil:
		return err
	case refused == api.ConstraintTaken:
		return api.Final(api.ErrInvalidRequest, "another app is being staged with the same task_id", nil)
	case refused != "":
		return api.Final(api.ErrInsufficientResources, api.NotEnough(refused), nil)
	}
	s.status.Node, s.status.FilesURL = placed.Node, placed.FilesURL
	s.result.NodeID = placed.Node
	if placed.CompletionPatience > 0 {
		s.patience = placed.CompletionPatience
	}
	if ctx.Err() != nil { // Cancelled while it was being placed.
		s.release(ctx)
		return ctx.Err()
	}
	s.here = true
	return workflow.UpsertTypedSearchAttributes(ctx, api.SearchNode.ValueSet(placed.Node))
}

// place books room for one reservation. It does not hear a cancel: what it booked must be known, to be given back.
func place(ctx workflow.Context, params activities.PlaceParams) (activities.Placed, api.Constraint, error) {
	apart, _ := workflow.NewDisconnectedContext(ctx)
	answer, err := activities.Place.Run(onAnyWorker(apart, quickTimeout, retryOutage(), "choose a node"), params)
	if err != nil {
		return activities.Placed{}, "", err
	}
	id := params.Reservations[0].ID
	placed, ok := answer.Placed[id]
	if !ok {
		return activities.Placed{}, cmp.Or(answer.Refused[id], api.ConstraintMemory), nil
	}
	return placed, "", nil
}

// stageHere does on the chosen node all that leaves something there.
func (s *staging) stageHere(ctx workflow.Context) error {
	s.enter(ctx, api.StagingFetching)
	_, err := runOnNode(ctx, s.nodeWork(transferTimeout, retryOutage(), "fetch the package and the buildpacks, make the container"),
		activities.SetUpStaging, activities.SetUpParams{Request: s.request})
	if err != nil {
		return err
	}
	now := workflow.Now(ctx)
	s.status.SetUp = &now
	s.enter(ctx, api.StagingBuilding)
	built, err := runOnNode(ctx, s.nodeWork(buildTimeout, retryDeaths(), "run the buildpack"),
		activities.BuildApp, activities.BuildParams{Request: s.request})
	if err != nil {
		return err
	}
	s.result.DetectedBuildpack = built.Result.DetectedBuildpack
	s.result.BuildpackKey = built.Result.BuildpackKey
	s.result.DetectedStartCommand = built.Result.StartCommand
	s.result.Procfile = built.Result.Procfile
	s.enter(ctx, api.StagingUploading)
	_, err = runOnNode(ctx, s.nodeWork(transferTimeout, retryOutage(), "upload the droplet"),
		activities.UploadDroplet, activities.UploadParams{Request: s.request})
	if err != nil {
		return err
	}
	s.result.DropletSHA1 = built.Result.DropletSHA1
	return nil
}

func (s *staging) nodeWork(limit time.Duration, retry *temporal.RetryPolicy, summary string) nodeWork {
	return nodeWork{node: s.status.Node, limit: limit, retry: retry, summary: summary}
}

func (s *staging) enter(ctx workflow.Context, phase api.StagingPhase) {
	s.status.Phase, s.status.Since = phase, workflow.Now(ctx)
	if err := workflow.UpsertTypedSearchAttributes(ctx, api.SearchState.ValueSet(string(phase))); err != nil {
		workflow.GetLogger(ctx).Error("the phase is not in the search attributes", "error", err)
	}
	text := fmt.Sprintf("**%s** app `%s`", phase, s.request.AppID)
	if s.status.Node != "" {
		text += fmt.Sprintf(" on node `%s`", s.status.Node)
	}
	if s.result.DetectedBuildpack != "" {
		text += fmt.Sprintf("\n\nBuildpack: %s", s.result.DetectedBuildpack)
	}
	if s.result.ErrorInfo != nil {
		text += fmt.Sprintf("\n\n%s: %s", s.result.ErrorInfo.Type, s.result.ErrorInfo.Message)
	}
	workflow.SetCurrentDetails(ctx, text)
}
