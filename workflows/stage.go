package workflows

import (
	"cmp"
	"errors"
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
// It answers api.QueryStaging and hears api.SignalNodeLost. A staging that fails, fails the workflow with an error whose type is the wire's
// error_info.type and whose message is for the user; the cloud controller is told the same. A cancelled one is told
// to it as api.StagingTaskStopped. Container, workspace and reservation are gone at the end in every case.
func StageApp(ctx workflow.Context, in api.StageInput) (api.StagingResult, error) {
	s := newStaging(ctx, in)
	err := api.QueryStaging.Handle(ctx, func() (api.StagingStatus, error) { return s.status, nil })
	if err != nil {
		return api.StagingResult{}, err
	}
	s.listen(ctx)
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
	// patience is how long the cloud controller is tried, roomUntil is when no room is a reason to fail.
	patience  time.Duration
	roomUntil time.Time
	// lost is the node that was given up last, by its own ledger.
	lost string
}

func newStaging(ctx workflow.Context, in api.StageInput) *staging {
	r := in.Request
	return &staging{
		request: r,
		status: api.StagingStatus{
			AppID: r.AppID, TaskID: r.TaskID, Phase: api.StagingPlacing, Since: workflow.Now(ctx),
		},
		result:    api.StagingResult{AppID: r.AppID, TaskID: r.TaskID},
		patience:  completionPatience,
		roomUntil: workflow.Now(ctx).Add(in.RoomPatience),
	}
}

// listen hears of a node that its ledger gives up: what was booked there is booked no more.
func (s *staging) listen(ctx workflow.Context) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			s.lost = api.SignalNodeLost.Receive(ctx).Node
		}
	})
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
		lost = append(lost, s.status.Node)
		s.here, s.status.SetUp = false, nil
		s.result = api.StagingResult{AppID: s.request.AppID, TaskID: s.request.TaskID, NodeID: s.status.Node}
		if len(lost) == maxStagingNodes {
			return api.Final(api.ErrStager, fmt.Sprintf("the nodes that staged it were lost, %d of them", len(lost)), err)
		}
		workflow.GetLogger(ctx).Warn("the node was lost, trying another", "node", s.status.Node)
	}
}

// place books room for the staging and makes its node the one that s.status names.
func (s *staging) place(ctx workflow.Context, avoid []string) error {
	s.enter(ctx, api.StagingPlacing)
	placed, refused, err := s.book(ctx, avoid)
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

// roomPause is between two tries to book room that is about to come free.
const roomPause = 500 * time.Millisecond

// book books room on a node. Where there is none it tries again for as long as an earlier staging of the app may hold some.
func (s *staging) book(ctx workflow.Context, avoid []string) (activities.Placed, api.Constraint, error) {
	params := activities.PlaceParams{
		Avoid: avoid,
		Reservations: []api.Reservation{{
			ID: api.StagingHandle(s.request.TaskID), Kind: api.KindStaging, AppID: s.request.AppID, Resources: s.request.Needs(),
			Stack: s.request.Stack, Workflow: workflow.GetInfo(ctx).WorkflowExecution.ID,
		}},
	}
	for {
		placed, refused, err := place(ctx, params)
		full := refused == api.ConstraintMemory || refused == api.ConstraintDisk
		if err != nil || !full || !workflow.Now(ctx).Before(s.roomUntil) {
			return placed, refused, err
		}
		if err := workflow.Sleep(ctx, roomPause); err != nil {
			return activities.Placed{}, "", err
		}
	}
}

// place books room for one reservation. It does not hear a cancel: what it booked must be known, to be given back.
func place(ctx workflow.Context, params activities.PlaceParams) (activities.Placed, api.Constraint, error) {
	apart, _ := workflow.NewDisconnectedContext(ctx)
	answer, err := activities.Place.Run(placing(apart, "choose a node"), params)
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
	const setUp = "fetch the package and the buildpacks, make the container"
	_, err := runHere(ctx, s, transferTimeout, retryOutage(), setUp, activities.SetUpStaging, activities.SetUpParams{Request: s.request})
	if err != nil {
		return err
	}
	now := workflow.Now(ctx)
	s.status.SetUp = &now
	s.enter(ctx, api.StagingBuilding)
	built, err := runHere(ctx, s, buildTimeout, retryDeaths(), "run the buildpack",
		activities.BuildApp, activities.BuildParams{Request: s.request})
	if err != nil {
		return err
	}
	s.result.DetectedBuildpack = built.Result.DetectedBuildpack
	s.result.BuildpackKey = built.Result.BuildpackKey
	s.result.DetectedStartCommand = built.Result.StartCommand
	s.result.Procfile = built.Result.Procfile
	s.enter(ctx, api.StagingUploading)
	_, err = runHere(ctx, s, transferTimeout, retryUpload(), "upload the droplet",
		activities.UploadDroplet, activities.UploadParams{Request: s.request})
	if err != nil {
		return err
	}
	s.result.DropletSHA1 = built.Result.DropletSHA1
	return nil
}

// errNodeLost: the ledger of the staging's node has given the node up, and what was booked there with it.
var errNodeLost = temporal.NewTimeoutError(timeoutScheduleToStart, errors.New("the node was given up"))

// runHere runs an activity on the staging's node. A node that is given up meanwhile is lost also when its worker is back by
// then: its ledger does not know of the staging any more.
func runHere[In, Out any](
	ctx workflow.Context, s *staging, limit time.Duration, retry *temporal.RetryPolicy, summary string,
	a activities.Activity[In, Out], in In,
) (Out, error) {
	var out Out
	node := s.status.Node
	if s.lost == node {
		return out, errNodeLost
	}
	here, cancel := workflow.WithCancel(onNode(ctx, node, limit, retry, summary))
	defer cancel()
	var err error
	ended := false
	workflow.Go(here, func(here workflow.Context) {
		out, err = askTwice(here, a, in)
		ended = true
	})
	apart, _ := workflow.NewDisconnectedContext(ctx) // a cancel ends the activity, and so this
	if failed := workflow.Await(apart, func() bool { return ended || s.lost == node }); failed != nil {
		return out, failed
	}
	if !ended {
		return out, errNodeLost
	}
	return out, err
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
