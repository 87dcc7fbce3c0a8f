package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// completionPatience is how long the outcome of a staging is offered to a cloud controller that does not take it, where no
// node has said another time: as long as one may be restarting.
const completionPatience = 15 * time.Minute

// finish tells the cloud controller while it cleans up, starts what is to be started, and gives the workflow its result.
func (s *staging) finish(ctx workflow.Context, failed error) (api.StagingResult, error) {
	if failed != nil {
		s.result.ErrorInfo = stagingError(failed)
		s.result.Error = s.result.ErrorInfo.Message
	}
	// What the staging has found out is told also when it is cancelled by now.
	apart, _ := workflow.NewDisconnectedContext(ctx)
	s.enter(apart, api.StagingReporting)
	cleaning := workflow.NewWaitGroup(apart)
	cleaning.Add(1)
	workflow.Go(apart, func(ctx workflow.Context) {
		defer cleaning.Done()
		s.cleanUp(ctx)
	})
	_, unheard := activities.ReportStaging.Run(reporting(apart, s.patience), activities.ReportParams{Result: s.result})
	cleaning.Wait(apart)
	s.status.Result = &s.result
	switch {
	case failed != nil:
		return s.failed(apart, failed, unheard)
	case unheard != nil:
		s.result.ErrorInfo = &api.ErrorInfo{Type: api.ErrStager, Message: api.Explain(unheard, api.ErrStager).Message}
		s.result.Error = s.result.ErrorInfo.Message
		s.enter(apart, api.StagingFailed)
		return s.result, api.Final(api.ErrStager, s.result.Error, unheard)
	}
	// The outcome was told: what follows from it is done, also for one that is cancelled by now.
	s.startInstance(apart)
	s.enter(apart, api.StagingDone)
	return s.result, nil
}

func (s *staging) failed(ctx workflow.Context, failed, unheard error) (api.StagingResult, error) {
	s.enter(ctx, api.StagingFailed)
	if unheard != nil {
		workflow.GetLogger(ctx).Warn("the cloud controller does not know that the staging failed", "error", unheard)
	}
	if temporal.IsCanceledError(failed) {
		return s.result, temporal.NewCanceledError(api.StagingTaskStopped)
	}
	return s.result, api.Final(s.result.ErrorInfo.Type, s.result.ErrorInfo.Message, failed)
}

// cleanUp takes away what the staging left on its node. A node that does not answer is given up: its supervisor removes,
// when it comes back, what no reservation names.
func (s *staging) cleanUp(ctx workflow.Context) {
	if !s.here {
		return
	}
	here := workflow.WithScheduleToCloseTimeout(cleaningUp(ctx, s.status.Node, quickTimeout, "clean up"), cleanUpTimeout)
	_, err := askTwice(here, activities.CleanUpStaging, activities.CleanUpParams{TaskID: s.request.TaskID})
	if err != nil {
		workflow.GetLogger(ctx).Warn("the clean-up is left to the node's supervisor", "error", err)
	}
	s.release(ctx)
}

// release gives the staging's room back.
func (s *staging) release(ctx workflow.Context) { s.giveBack(ctx, api.StagingHandle(s.request.TaskID)) }

// giveBack gives a reservation of the staging's node back.
func (s *staging) giveBack(ctx workflow.Context, reservation string) {
	apart, _ := workflow.NewDisconnectedContext(ctx)
	awaitReleased(apart, release(apart, s.status.Node, reservation))
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
	if err := message.ValidateStaged(); err != nil {
		return err
	}
	id := instanceID(ctx, 0)
	placed, refused, err := place(ctx, activities.PlaceParams{
		Only: s.status.Node, Reservations: []api.Reservation{message.Reservation(id)},
	})
	if err != nil {
		return err
	}
	if refused != "" {
		return errors.New(api.NotEnough(refused))
	}
	err = startChild(ctx, api.InstanceInput{
		InstanceID: id, Node: placed.Node, FilesURL: placed.FilesURL, Grace: placed.Grace, Message: message,
		Shape: api.InstanceShape,
	}).GetChildWorkflowExecution().Get(ctx, nil)
	if err != nil {
		s.giveBack(ctx, id)
	}
	return err
}
