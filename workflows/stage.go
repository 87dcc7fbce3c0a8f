package workflows

import (
	"cmp"
	"errors"
	"fmt"

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
}

func newStaging(ctx workflow.Context, r api.StagingRequest) *staging {
	return &staging{
		request: r,
		status: api.StagingStatus{
			AppID: r.AppID, TaskID: r.TaskID, Phase: api.StagingPlacing, Since: workflow.Now(ctx),
		},
		result: api.StagingResult{AppID: r.AppID, TaskID: r.TaskID},
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
			s.cleanUp(ctx)
			return err
		}
		s.release(ctx)
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
	if ctx.Err() != nil { // Cancelled while it was being placed.
		s.release(ctx)
		return ctx.Err()
	}
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
	node := s.status.Node
	s.enter(ctx, api.StagingFetching)
	_, err := activities.FetchPackages.Run(onNode(ctx, node, transferTimeout, retryOutage(), "fetch the package and the buildpacks"),
		activities.FetchParams{Request: s.request})
	if err != nil {
		return err
	}
	s.enter(ctx, api.StagingBuilding)
	built, err := activities.BuildApp.Run(onNode(ctx, node, buildTimeout, retryDeaths(), "run the buildpack"),
		activities.BuildParams{Request: s.request})
	if err != nil {
		return err
	}
	s.result.DetectedBuildpack = built.Result.DetectedBuildpack
	s.result.BuildpackKey = built.Result.BuildpackKey
	s.result.DetectedStartCommand = built.Result.StartCommand
	s.result.Procfile = built.Result.Procfile
	s.enter(ctx, api.StagingUploading)
	_, err = activities.UploadDroplet.Run(onNode(ctx, node, transferTimeout, retryOutage(), "upload the droplet"),
		activities.UploadParams{Request: s.request})
	if err != nil {
		return err
	}
	s.result.DropletSHA1 = built.Result.DropletSHA1
	return nil
}

// cleanUp takes away what the staging left on its node. A node that does not answer is given up: its supervisor removes,
// when it comes back, what no reservation names.
func (s *staging) cleanUp(ctx workflow.Context) {
	handle := api.StagingHandle(s.request.TaskID)
	here := cleaningUp(ctx, s.status.Node, quickTimeout, "clean up")
	here = workflow.WithScheduleToCloseTimeout(here, cleanUpTimeout)
	_, err := activities.DestroyContainer.Run(here, activities.DestroyParams{Handle: handle})
	if err == nil {
		_, err = activities.DiscardPackages.Run(here, activities.DiscardParams{TaskID: s.request.TaskID})
	}
	if err != nil {
		workflow.GetLogger(ctx).Warn("the clean-up is left to the node's supervisor", "error", err)
	}
	s.release(ctx)
}

// release gives the staging's room back.
func (s *staging) release(ctx workflow.Context) {
	apart, _ := workflow.NewDisconnectedContext(ctx)
	released := api.SignalRelease.SendFrom(apart, api.NodeWorkflowID(s.status.Node),
		api.ReleaseRequest{IDs: []string{api.StagingHandle(s.request.TaskID)}})
	if err := released.Get(apart, nil); err != nil {
		workflow.GetLogger(ctx).Warn("the node has no ledger to give the room back to", "error", err)
	}
}

// finish tells the cloud controller, starts what is to be started, and gives the workflow its result.
func (s *staging) finish(ctx workflow.Context, failed error) (api.StagingResult, error) {
	if failed != nil {
		s.result.ErrorInfo = stagingError(failed)
		s.result.Error = s.result.ErrorInfo.Message
	}
	s.enter(ctx, api.StagingReporting)
	apart, _ := workflow.NewDisconnectedContext(ctx)
	_, unheard := activities.ReportStaging.Run(
		onAnyWorker(apart, reportTimeout, retryReport(), "tell the cloud controller"),
		activities.ReportParams{Result: s.result})
	s.status.Result = &s.result
	switch {
	case failed != nil:
		s.enter(apart, api.StagingFailed)
		if unheard != nil {
			workflow.GetLogger(ctx).Warn("the cloud controller does not know that the staging failed", "error", unheard)
		}
		if temporal.IsCanceledError(failed) {
			return s.result, temporal.NewCanceledError(api.StagingTaskStopped)
		}
		return s.result, api.Final(s.result.ErrorInfo.Type, s.result.ErrorInfo.Message, failed)
	case unheard != nil:
		s.result.ErrorInfo = &api.ErrorInfo{Type: api.ErrStager, Message: api.Explain(unheard, api.ErrStager).Message}
		s.result.Error = s.result.ErrorInfo.Message
		s.enter(apart, api.StagingFailed)
		return s.result, api.Final(api.ErrStager, s.result.Error, unheard)
	}
	s.startInstance(ctx)
	s.enter(ctx, api.StagingDone)
	return s.result, nil
}

// stagingError is the wire's form of whatever a staging failed with.
func stagingError(failed error) *api.ErrorInfo {
	if temporal.IsCanceledError(failed) {
		return &api.ErrorInfo{Type: api.ErrStaging, Message: api.StagingTaskStopped}
	}
	info := api.Explain(failed, api.ErrStager)
	switch info.Type {
	case api.ErrWarden, api.ErrControllerUnreachable, api.ErrDroplet:
		info.Type = api.ErrStager
	case api.ErrInvalidRequest:
		info.Type = api.ErrStaging
	}
	return &info
}

// startInstance starts what the request's start message asks for, with the new droplet, on the node that has it
// already. That it cannot be started does not make the staging fail: whoever counts the instances finds it missing.
func (s *staging) startInstance(ctx workflow.Context) {
	if s.request.StartMessage == nil {
		return
	}
	if err := s.tryStart(ctx, *s.request.StartMessage); err != nil {
		workflow.GetLogger(ctx).Warn("the instance that the request asks for was not started", "error", err)
	}
}

func (s *staging) tryStart(ctx workflow.Context, message api.StartMessage) error {
	message.SHA1 = s.result.DropletSHA1
	if err := message.Validate(); err != nil {
		return err
	}
	id := instanceID(ctx, 0)
	placed, refused, err := place(ctx, activities.PlaceParams{
		Stack: message.Stack, Only: s.status.Node, Reservations: []api.Reservation{message.Reservation(id)},
	})
	if err != nil {
		return err
	}
	if refused != "" {
		return errors.New(api.NotEnough(refused))
	}
	return startChild(ctx, api.InstanceInput{
		InstanceID: id, Node: placed.Node, FilesURL: placed.FilesURL, Message: message,
	}).GetChildWorkflowExecution().Get(ctx, nil)
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
