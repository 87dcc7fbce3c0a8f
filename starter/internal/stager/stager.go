// Package stager stages an app while a user watches: the staging's log is shown as it is written, and an interrupt
// cancels the staging rather than leave it running unseen.
package stager

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/progress"
	"github.com/durable-dea/dea/starter/internal/staginglog"
	"github.com/durable-dea/dea/starter/internal/tail"
)

const (
	// drain is how long the end of the log may take once the staging is over. The node ends it itself when it has
	// cleaned up; this is for one that does not.
	drain = 2 * time.Second
	// cancelTimeout bounds telling the platform of an interrupt, and cleanUp waiting for what follows from it.
	cancelTimeout = 10 * time.Second
	cleanUp       = 20 * time.Second
)

// Stager stages apps. All fields are required.
type Stager struct {
	Controller *controller.Client
	Files      *tail.Client
	Report     *progress.Reporter
}

// Stage stages an app and waits for the result, showing the log and each phase that takes a while. An interrupt (the end of
// ctx) cancels the staging, waits a while until the platform has cleaned up, and fails with context.Canceled.
func (s *Stager) Stage(ctx context.Context, request api.StagingRequest) (api.StagingResult, error) {
	staging, err := s.Controller.Stage(ctx, request)
	if errors.Is(ctx.Err(), context.Canceled) && err != nil { // it may have been begun all the same
		s.cancel(s.Controller.Staging(request.AppID, request.TaskID))
		return api.StagingResult{}, context.Canceled
	}
	if err != nil {
		return api.StagingResult{}, err
	}
	if staging.Again {
		s.Report.Line("This task was begun before, and is not begun again; another task_id makes it another staging")
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	var shown sync.WaitGroup
	shown.Go(func() { s.showLog(following, staging) })
	telling, quiet := context.WithCancel(ctx)
	shown.Go(func() { s.tellPhases(telling, staging, phaseLook) })
	result, err := staging.Wait(ctx)
	quiet()
	if errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, controller.ErrStagingFailed) && err != nil {
		shown.Wait()
		s.cancel(staging)
		return result, context.Canceled
	}
	end := time.AfterFunc(drain, stop)
	defer end.Stop()
	shown.Wait()
	if following.Err() != nil && ctx.Err() == nil {
		s.Report.Linef("(the staging log, or its end, could not be shown in time; `starter logs %s --staging` may show it)", staging.AppID)
	}
	return result, err
}

// cancel outlives the interrupt that it is for.
func (s *Stager) cancel(staging *controller.Staging) {
	s.Report.Line("Interrupted: cancelling the staging")
	ctx, done := context.WithTimeout(context.Background(), cancelTimeout)
	defer done()
	if err := staging.Cancel(ctx); errors.Is(err, controller.ErrNoSuchStaging) {
		s.Report.Line("It has not begun (no worker has taken it up; one that comes may still do so), or has ended")
		return
	} else if err != nil {
		s.Report.Linef("The staging could not be cancelled and goes on: %v", err)
		return
	}
	ctx, done = context.WithTimeout(context.Background(), cleanUp)
	defer done()
	if _, err := staging.Wait(ctx); errors.Is(err, controller.ErrStagingFailed) {
		s.Report.Line("The staging is cancelled")
		return
	}
	s.Report.Line("The staging is told to stop and cleans up")
}

// showLog shows the log. That it cannot be shown is said, and is no failure of the staging.
func (s *Stager) showLog(ctx context.Context, staging *controller.Staging) {
	r := staginglog.Reader{
		Controller: s.Controller, Files: s.Files, Emit: s.Report.Output,
		Warn: func(text string) { s.Report.Linef("(%s)", text) },
	}
	if err := r.Follow(ctx, staging); err != nil && ctx.Err() == nil {
		s.Report.Linef("(the staging log cannot be shown: %v)", err)
	}
}
