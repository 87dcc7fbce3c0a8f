// Package stager stages an app while a user watches: the staging's log is shown as it is written, and an interrupt
// cancels the staging rather than leave it running unseen.
package stager

import (
	"context"
	"errors"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/pause"
	"github.com/durable-dea/dea/starter/internal/progress"
	"github.com/durable-dea/dea/starter/internal/tail"
)

const (
	// firstLook and slowestLook bound the time between two questions for the place of the log.
	firstLook   = 50 * time.Millisecond
	slowestLook = time.Second
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

// Stage stages an app and waits for the result, showing the log. An interrupt (the end of ctx) cancels the staging,
// waits a while until the platform has cleaned up, and fails with context.Canceled.
func (s *Stager) Stage(ctx context.Context, request api.StagingRequest) (api.StagingResult, error) {
	staging, err := s.Controller.Stage(ctx, request)
	if err != nil {
		return api.StagingResult{}, err
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		s.showLog(following, staging)
	}()
	result, err := staging.Wait(ctx)
	if errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, controller.ErrStagingFailed) && err != nil {
		<-shown
		s.cancel(staging)
		return result, context.Canceled
	}
	end := time.AfterFunc(drain, stop)
	defer end.Stop()
	<-shown
	return result, err
}

// cancel outlives the interrupt that it is for.
func (s *Stager) cancel(staging *controller.Staging) {
	s.Report.Line("Interrupted: cancelling the staging")
	ctx, done := context.WithTimeout(context.Background(), cancelTimeout)
	defer done()
	if err := staging.Cancel(ctx); err != nil {
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

// showLog shows the log from when it is there until it ends. That it cannot be shown is said once and is no failure
// of the staging.
func (s *Stager) showLog(ctx context.Context, staging *controller.Staging) {
	told := false
	for wait := firstLook; ; wait = min(2*wait, slowestLook) {
		status, err := staging.Status(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, controller.ErrNoWorker) || errors.Is(err, controller.ErrUnreachable):
			if !told {
				s.Report.Linef("(waiting: %v)", err)
			}
			told = true
		default:
			s.notShown(ctx, err)
			return
		}
		if status.Result != nil {
			return
		}
		if address := staging.LogURL(status); address != "" {
			err := s.Files.Follow(ctx, address, 0, s.Report.Line)
			if !errors.Is(err, tail.ErrNotThere) {
				s.notShown(ctx, err)
				return
			}
		}
		if !pause.For(ctx, wait) {
			return
		}
	}
}

func (s *Stager) notShown(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.Report.Linef("(the staging log cannot be shown: %v)", err)
	}
}
