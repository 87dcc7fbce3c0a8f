// Package stager stages an app while a user watches: the staging's log is shown as it is written, and an interrupt
// cancels the staging rather than leave it running unseen.
package stager

import (
	"context"
	"errors"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/starter/internal/progress"
	"github.com/durable-dea/dea/starter/internal/tail"
)

const (
	// soonLook is the time between two questions for the log while the staging is young, since one that fails at once
	// takes its log away as soon; lateLook is for one that waits for room on a node. Each is work for a worker.
	soonLook = 50 * time.Millisecond
	lateLook = 500 * time.Millisecond
	young    = 5 * time.Second
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
	if following.Err() != nil && ctx.Err() == nil {
		s.Report.Line("(the staging log, or its end, could not be shown in time; it goes with the staging)")
	}
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

// showLog shows the log from when it is there until it ends, through restarts of its node's worker. That it cannot be
// shown is said once and is no failure of the staging.
func (s *Stager) showLog(ctx context.Context, staging *controller.Staging) {
	v := logView{Stager: s, staging: staging, begun: time.Now()}
	for {
		err := v.look(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			return
		case errors.Is(err, controller.ErrNoWorker), errors.Is(err, controller.ErrUnreachable), errors.Is(err, tail.ErrUnreachable):
			if !v.told {
				s.Report.Linef("(waiting for the staging log: %v)", err)
			}
			v.told = true
		case !errors.Is(err, tail.ErrNotThere):
			s.Report.Linef("(the staging log cannot be shown: %v)", err)
			return
		}
		wait := soonLook
		if time.Since(v.begun) > young {
			wait = lateLook
		}
		if !pause.For(ctx, wait) {
			return
		}
	}
}

// logView is a log that is being shown.
type logView struct {
	*Stager
	staging *controller.Staging
	begun   time.Time
	// from is how far it is shown, told that somebody who waits knows why.
	from int64
	told bool
}

var (
	errNoLog = errors.New("it wrote none, or was over too soon; it goes with the staging")
	// errNoEnd: a log that was followed to its end was not asked for again.
	errNoEnd = errors.New("its end went with the staging")
)

// look shows what there is until its end, which is nil.
func (v *logView) look(ctx context.Context) error {
	status, err := v.staging.Status(ctx)
	switch {
	case err != nil:
		return err
	case status.Result != nil && status.FilesURL != "" && v.from == 0:
		return errNoLog
	case status.Result != nil && status.FilesURL != "":
		return errNoEnd
	case status.Result != nil: // it never had a place
		return nil
	case status.FilesURL == "":
		return tail.ErrNotThere
	}
	// A worker that was started again may serve its node's files elsewhere.
	if v.told {
		status.FilesURL = v.Controller.CurrentFilesURL(ctx, status.Node, status.FilesURL)
	}
	v.from, err = v.Files.Follow(ctx, func() string { return v.staging.LogURL(status) }, v.from, v.Report.Line)
	return err
}
