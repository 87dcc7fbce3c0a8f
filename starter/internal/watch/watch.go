package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/starter/internal/progress"
	"github.com/durable-dea/dea/starter/internal/tail"
)

const (
	// firstLook and slowestLook bound the time between two questions; each is work for a worker.
	firstLook   = 50 * time.Millisecond
	slowestLook = time.Second
	// refusedFor is how long a start may be refused before it is told: a node that just became free is seen late.
	refusedFor = 5 * time.Second
	// lastLines are shown of what a crashed instance said.
	lastLines   = 20
	logsTimeout = 5 * time.Second
)

// ErrAppFailed: the app does not run as wanted.
var ErrAppFailed = errors.New("app failed")

// NotRunningError says why an app does not run. It is an ErrAppFailed.
type NotRunningError struct {
	// App is the app as it was last seen.
	App api.AppStatus
	// Instance is the one that crashed; nil where none could be started, or not in time.
	Instance *api.InstanceStatus
	// Words are what is wrong, Next what to do.
	Words, Next string
	// Log are the last lines of the crashed instance, "stream: line".
	Log []string
}

// Error gives the words and what to do.
func (f *NotRunningError) Error() string { return f.Words + ": " + f.Next }

// Unwrap makes it an ErrAppFailed.
func (f *NotRunningError) Unwrap() error { return ErrAppFailed }

// Watcher watches apps. All fields are required.
type Watcher struct {
	Controller *controller.Client
	Files      *tail.Client
	Report     *progress.Reporter
}

// Running waits until an app's wanted instances run, and returns it so. version names the push that is waited for;
// "" is whatever the app has. Fails with a *NotRunningError, also when it takes longer than timeout.
func (w *Watcher) Running(ctx context.Context, app, version string, timeout time.Duration) (api.AppStatus, error) {
	t := newTracker(version)
	var refused time.Time
	return w.until(ctx, app, timeout, func(ctx context.Context, status api.AppStatus) (bool, error) {
		for _, gone := range t.vanished(status) {
			if v := w.account(ctx, t, gone); v.failed {
				return false, w.failure(ctx, status, v)
			}
		}
		v := t.look(status)
		if v.failed {
			return false, w.failure(ctx, status, v)
		}
		if status.Problem == "" || status.RetryAt == nil {
			refused = time.Time{}
		} else if refused.IsZero() {
			refused = time.Now()
		} else if time.Since(refused) > refusedFor {
			return false, w.refusal(ctx, status)
		}
		return v.done, nil
	})
}

// account finds out what became of an instance that was replaced between two looks.
func (w *Watcher) account(ctx context.Context, t *tracker, gone api.InstanceStatus) verdict {
	last, err := w.Controller.Instance(ctx, gone.InstanceID)
	if err != nil || last.State != api.StateCrashed && last.State != api.StateDeleted || last.Exit == nil {
		return verdict{}
	}
	if last.Exit.Description == api.ExitStopped {
		return verdict{}
	}
	v := t.crash(last)
	if !v.failed {
		w.Report.Linef("%s; the platform starts it again", v.words)
	}
	return v
}

// Stopped waits until no instance of an app lives. Fails with a *NotRunningError when it takes longer than timeout, and
// when somebody starts the app again meanwhile.
func (w *Watcher) Stopped(ctx context.Context, app string, timeout time.Duration) (api.AppStatus, error) {
	return w.until(ctx, app, timeout, func(_ context.Context, status api.AppStatus) (bool, error) {
		if status.Desired > 0 {
			words := fmt.Sprintf("%s was started again meanwhile: %d of its instances are wanted", app, status.Desired)
			return false, &NotRunningError{App: status, Words: words, Next: "`starter stop " + app + "` stops it again"}
		}
		return living(status) == 0, nil
	})
}

// Reached waits until as many instances live and run as are wanted, after a change of their number.
func (w *Watcher) Reached(ctx context.Context, app string, timeout time.Duration) (api.AppStatus, error) {
	status, err := w.Running(ctx, app, "", timeout)
	if err != nil || living(status) == status.Desired {
		return status, err
	}
	return w.until(ctx, app, timeout, func(_ context.Context, status api.AppStatus) (bool, error) {
		return living(status) <= status.Desired, nil
	})
}

func living(status api.AppStatus) int {
	n := 0
	for _, i := range status.Instances {
		if i.State.Alive() {
			n++
		}
	}
	return n
}

// until looks again and again, and tells of each change. A platform that is away is waited for; one that still is at the
// end is the reason why it failed.
func (w *Watcher) until(
	ctx context.Context, app string, timeout time.Duration, look func(context.Context, api.AppStatus) (bool, error),
) (api.AppStatus, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var status api.AppStatus
	var unseen error
	told := ""
	for wait := firstLook; ; wait = min(2*wait, slowestLook) {
		now, err := w.Controller.App(limited, app)
		switch {
		case err == nil:
			status, unseen = now, nil
		case ctx.Err() != nil:
			return status, ctx.Err()
		case limited.Err() == nil && !errors.Is(err, controller.ErrNoWorker) && !errors.Is(err, controller.ErrUnreachable):
			return status, err
		case limited.Err() == nil:
			unseen = err
			w.Report.Linef("(%v)", err)
		}
		if err == nil {
			if line := summary(status); line != told {
				told = line
				wait = firstLook
				w.Report.Line(line)
			}
			if done, err := look(limited, status); done || err != nil {
				return status, err
			}
		}
		if !pause.For(limited, wait) {
			if ctx.Err() != nil {
				return status, ctx.Err()
			}
			if unseen != nil { // that says more than what was seen last
				return status, unseen
			}
			words := fmt.Sprintf("%d of %d instances of %s run after %s", status.Running, status.Desired, app, timeout)
			if status.Problem != "" {
				words += " (" + status.Problem + ")"
			}
			return status, &NotRunningError{App: status, Words: words, Next: nextLook(app)}
		}
	}
}

// summary is one line on how far an app is.
func summary(status api.AppStatus) string {
	counts := map[api.InstanceState]int{}
	for _, i := range status.Instances {
		counts[i.State]++
	}
	line := fmt.Sprintf("%d of %d instances of %s run", status.Running, status.Desired, status.AppID)
	var others []string
	for _, s := range []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateResuming, api.StateEvacuating, api.StateStopping, api.StateCrashed,
	} {
		if counts[s] > 0 {
			others = append(others, fmt.Sprintf("%d %s", counts[s], strings.ToLower(string(s))))
		}
	}
	if len(others) > 0 {
		line += " (" + strings.Join(others, ", ") + ")"
	}
	if status.Problem != "" {
		line += ": " + status.Problem
	}
	return line
}

func nextLook(app string) string {
	return fmt.Sprintf("`starter ps %s` shows its instances, `starter logs %s` what they say", app, app)
}

// refusal explains why no instance is placed. That there is not enough room means something else where no node takes
// work.
func (w *Watcher) refusal(ctx context.Context, status api.AppStatus) error {
	if words, next := w.Controller.NoReadyNode(ctx); words != "" {
		return &NotRunningError{App: status, Words: words, Next: next}
	}
	return w.failure(ctx, status, verdict{failed: true, words: status.Problem})
}

// failure explains a verdict and adds what a crashed instance last said.
func (w *Watcher) failure(ctx context.Context, status api.AppStatus, v verdict) error {
	f := &NotRunningError{App: status, Instance: v.instance, Words: v.words, Next: nextLook(status.AppID)}
	if v.instance == nil {
		return f
	}
	if v.instance.Exit != nil && v.instance.Exit.Description == api.ExitHealthCheck {
		f.Next = "the app must listen on the port in $PORT, or be pushed with --no-route; " + f.Next
	}
	ctx, cancel := context.WithTimeout(ctx, logsTimeout)
	defer cancel()
	base := w.Controller.CurrentFilesURL(ctx, v.instance.Node, v.instance.FilesURL)
	for _, stream := range []struct{ name, file string }{{"out", controller.StdoutLog}, {"err", controller.StderrLog}} {
		address := w.Controller.FileURL(controller.InstanceFiles, v.instance.InstanceID, base, stream.file, false)
		if address == "" {
			continue
		}
		end, err := w.Files.Last(ctx, address, lastLines)
		if err != nil {
			continue // the logs of a crash may be gone already; what happened is told all the same
		}
		for _, line := range end.All() {
			f.Log = append(f.Log, stream.name+": "+line)
		}
	}
	return f
}
