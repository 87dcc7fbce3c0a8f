// Package staginglog shows the log of a staging: all of it as it is written, or the end of it once the staging is over.
//
// While a staging goes on, its log is on its node, from before its container runs. Afterwards the node keeps it for a while,
// and every instance of the droplet has it for good.
package staginglog

import (
	"context"
	"errors"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/starter/internal/tail"
)

const (
	// soonLook is the time between two questions for the log while it was followed for less than young, lateLook later on,
	// as of a staging that waits for room on a node. Each is work for a worker.
	soonLook = 100 * time.Millisecond
	lateLook = 500 * time.Millisecond
	young    = 5 * time.Second
)

// Reader reads the logs of stagings. All fields are required.
type Reader struct {
	Controller *controller.Client
	Files      *tail.Client
	// Emit takes each line.
	Emit func(string)
	// Warn takes what a user should know beside them.
	Warn func(string)
}

var (
	errNoLog = errors.New("its node no longer has it")
	errNoEnd = errors.New("its end is no longer on its node")
)

// Follow shows a staging's log from its beginning until it ends, with its last line though it may have no end, through
// restarts of its node's worker. A staging that ends without a place on a node has no log, which is no failure.
func (r *Reader) Follow(ctx context.Context, staging *controller.Staging) error {
	v := view{Reader: r, staging: staging}
	begun := time.Now()
	for {
		err := v.look(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, controller.ErrNoWorker), errors.Is(err, controller.ErrUnreachable),
			errors.Is(err, tail.ErrUnreachable) && !v.hopeless():
			if !v.told {
				r.Warn("waiting for the staging log: " + err.Error())
			}
			v.told = true
		case !errors.Is(err, tail.ErrNotThere):
			return err
		}
		wait := soonLook
		if time.Since(begun) > young {
			wait = lateLook
		}
		if !pause.For(ctx, wait) {
			return ctx.Err()
		}
	}
}

// view is a log that is being followed.
type view struct {
	*Reader
	staging *controller.Staging
	// from is how far it is shown, of the log on node; told that somebody who waits knows why.
	from tail.Position
	node string
	told bool
	// over is set once the staging is.
	over bool
}

// hopeless tells whether nothing more is to be waited for: the staging is over, and its node was asked where it serves its
// files now.
func (v *view) hopeless() bool { return v.over && v.told }

// look shows what there is until its end, which is nil.
func (v *view) look(ctx context.Context) error {
	status, err := v.staging.Status(ctx)
	if err != nil {
		return err
	}
	v.over = status.Result != nil
	switch {
	case status.FilesURL == "" && v.over:
		return nil
	case status.FilesURL == "":
		return tail.ErrNotThere
	}
	if v.node != "" && v.node != status.Node {
		v.Warn("the node was lost: the staging begins again on node " + status.Node)
		v.from = tail.Position{}
	}
	v.node = status.Node
	// A worker that was started again may serve its node's files elsewhere.
	if v.told {
		status.FilesURL = v.Controller.CurrentFilesURL(ctx, status.Node, status.FilesURL)
	}
	v.from, err = v.Files.Follow(ctx, func() string { return v.staging.LogURL(status) }, v.from, v.Emit)
	switch gone := v.over && errors.Is(err, tail.ErrNotThere); {
	case gone && v.from.Offset == 0:
		return errNoLog
	case gone:
		return errNoEnd
	default:
		return err
	}
}

// Newest shows the log of an app's newest staging: of one that goes on, all of it until its end; of one that is over, the
// last lines, at least 1 of them, from its node or else from an instance that runs what it made. Fails with
// controller.ErrNoSuchStaging where there is no log to be had.
func (r *Reader) Newest(ctx context.Context, app string, lines int) error {
	var status api.StagingStatus
	staging, err := r.Controller.LatestStaging(ctx, app)
	if err == nil {
		status, err = staging.Status(ctx)
	}
	switch {
	case errors.Is(err, controller.ErrNoSuchStaging): // long ago; its app may run all the same
		return r.fromInstance(ctx, app, lines)
	case err != nil:
		return err
	case status.Result == nil:
		return r.Follow(ctx, staging)
	case status.FilesURL == "":
		return &controller.Error{
			Kind: controller.ErrNoSuchStaging, Words: "the newest staging of " + app + " wrote no log: it ended before it had a place",
			Next: "`starter push` stages it again and says why it fails",
		}
	}
	err = r.last(ctx, lines, r.url(staging, status.FilesURL))
	if errors.Is(err, tail.ErrUnreachable) && ctx.Err() == nil {
		if now := r.Controller.CurrentFilesURL(ctx, status.Node, status.FilesURL); now != status.FilesURL {
			err = r.last(ctx, lines, r.url(staging, now))
		}
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case status.Result.ErrorInfo != nil: // what runs was made by an earlier one
		return &controller.Error{
			Kind: controller.ErrNoSuchStaging, Words: "the log of the newest staging of " + app + ", which failed, cannot be had: " + told(err),
			Next: "`starter push` stages it again and shows the log",
		}
	default:
		r.Warn("the staging's node does not give its log: " + told(err))
		return r.fromInstance(ctx, app, lines)
	}
}

// nowhere is the failure of a log that neither a node nor an instance has.
func nowhere(app string) error {
	return &controller.Error{
		Kind: controller.ErrNoSuchStaging, Words: "there is no staging log of " + app + ": a node keeps it for a while, and no instance runs that has it",
		Next: "`starter start " + app + "` starts an instance, `starter push` stages the app again and shows the log",
	}
}

// told are an error's words about a file of a node.
func told(err error) string {
	if errors.Is(err, tail.ErrNotThere) {
		return errNoLog.Error()
	}
	return err.Error()
}

// url is the log's where its node serves files from base, as it is now; LogURL would go on.
func (r *Reader) url(staging *controller.Staging, base string) string {
	return r.Controller.FileURL(controller.StagingFiles, staging.TaskID, base, controller.StagingLog, false)
}

// last shows the last lines of a file, after what is to be said of them.
func (r *Reader) last(ctx context.Context, lines int, address string, said ...string) error {
	end, err := r.Files.Last(ctx, address, lines)
	if err != nil {
		return err
	}
	for _, text := range said {
		r.Warn(text)
	}
	for _, text := range end.All() {
		r.Emit(text)
	}
	return nil
}

// fromInstance shows the last lines of the log that came with the droplet of an app that runs, and fails with
// controller.ErrNoSuchStaging where none does.
func (r *Reader) fromInstance(ctx context.Context, app string, lines int) error {
	status, err := r.Controller.App(ctx, app)
	if errors.Is(err, controller.ErrNoSuchApp) {
		return nowhere(app)
	}
	if err != nil {
		return err
	}
	for _, i := range status.Instances {
		if i.State != api.StateRunning || i.Version != status.Version {
			continue
		}
		base := r.Controller.CurrentFilesURL(ctx, i.Node, i.FilesURL)
		address := r.Controller.FileURL(controller.InstanceFiles, i.InstanceID, base, controller.DropletLog, false)
		if address == "" {
			continue
		}
		if r.last(ctx, lines, address, "this is the log that came with the droplet that runs") == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nowhere(app)
}
