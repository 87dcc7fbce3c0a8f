package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/appenv"
	"github.com/durable-dea/dea/internal/cleantext"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/workspace"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

const (
	// timeoutMargin is what a build may take over its time limit: the runner keeps the limit itself, and leaves a
	// log and a result that say so.
	timeoutMargin = 15 * time.Second
	// stopPatience is how long the stopping of a container is waited for after its build.
	stopPatience = 15 * time.Second
	// maxMessage bounds what is passed on of a result's message, which a container of the user's wrote, in bytes.
	maxMessage = 4 << 10
)

// BuildParams says what is to be built.
type BuildParams struct {
	Request api.StagingRequest `json:"request"`
}

// BuildResult is what the build says of itself; the droplet lies in the workspace.
type BuildResult struct {
	Result runspec.Result `json:"result"`
}

// Build runs the buildpack in the staging's container, which SetUp has made.
//
// Run twice it finds the job of the first run and goes on with it; the buildpack never compiles twice. A build that ended
// unseen is known by its result, and one that vanished is an error of type StagerError. Cancelled, or when its context
// ends for whatever reason, it leaves the container as it is: CleanUp is for the workflow to call. It heartbeats.
//
// A build that takes longer than max_staging_duration is stopped, with an error of type StagingTimeExpired, and one that
// writes more onto the node's disk than its own disk could have held with one of type StagingError.
func (c *Containers) Build(ctx context.Context, params BuildParams) (BuildResult, error) {
	b := c.newBuild(params.Request)
	// What is there was written by an earlier attempt's build, also when the container is gone since.
	if !b.concluded() {
		if err := b.run(ctx); err != nil {
			return BuildResult{}, containerFault(err)
		}
	}
	if err := b.quiet(ctx); err != nil {
		return BuildResult{}, err
	}
	return b.result()
}

func (c *Containers) newBuild(request api.StagingRequest) *build {
	return &build{
		Containers: c, request: request, handle: api.StagingHandle(request.TaskID),
		space: c.workspaces.Path(request.TaskID),
	}
}

// build is one attempt to build one app.
type build struct {
	*Containers
	request api.StagingRequest
	handle  string
	space   workspace.Workspace
	// job is the one to link, 0 when there is none any more.
	job uint32
	// spawned is set once a job of this attempt's own was not turned away by the runner: no other is spawned.
	spawned bool
	// ended is what Link said of a job that may have been the build, nil when nobody was there to hear it.
	ended *wardenpb.LinkResponse
}

// run ends with a build that has ended: when no job is left, and either the build had begun or this attempt's own job
// came to nothing. The end of one job alone tells neither. Several attempts can be at it, when one's heartbeat was lost
// but not its life, or a worker's last request outlived it: they can all spawn a job, of which the runner lets one build
// and turns the others away, and what an attempt finds in the container may be another's job that makes the link to the
// app.
func (b *build) run(ctx context.Context) error {
	for {
		if err := b.findOrSpawn(ctx); err != nil {
			return err
		}
		if b.job == 0 {
			return nil
		}
		if err := b.link(ctx); err != nil {
			return err
		}
	}
}

// heard notes how a job ended. Only a status other than 0 tells something that the result does not.
func (b *build) heard(response *wardenpb.LinkResponse) {
	if response.GetExitStatus() == runspec.ExitAlreadyStarted {
		b.spawned = false // Should the other have died before it began, nobody has built.
		return
	}
	if b.ended == nil || response.GetExitStatus() != 0 {
		b.ended = response
	}
}

// containerFault mends what an error says of another try: a container that is not there can be made, be it that another
// attempt is making it right now, or that somebody destroyed it.
func containerFault(err error) error {
	if errors.Is(err, warden.ErrUnknownHandle) {
		return api.Transient(api.ErrWarden, "the build's container is not there", err)
	}
	return err
}

// started tells whether the runner has begun in the container: what it began must not be begun again.
func (b *build) started() bool { return b.space.Started() }

// concluded tells whether the runner has left a result, be it one that cannot be read.
func (b *build) concluded() bool {
	_, err := b.space.Result()
	return !errors.Is(err, runspec.ErrNoResult)
}

// over tells whether Warden refused something because another attempt, which has heard of the build's end, has stopped the
// container: the result says the rest.
func (b *build) over(err error) bool {
	return errors.Is(err, warden.ErrWrongState) && (b.started() || b.concluded())
}

// findOrSpawn ends with a job to link: one that is there, or one of its own. There is none when the build has begun, or
// its job is gone; its result says the rest.
func (b *build) findOrSpawn(ctx context.Context) error {
	// Looked at first: a job that begins between two looks must not pass for one that was there and is gone.
	begun := b.started()
	b.job = 0
	info, err := b.warden.Info(ctx, &wardenpb.InfoRequest{Handle: proto.String(b.handle)})
	away := errors.Is(err, warden.ErrUnknownHandle)
	if err != nil && (!away || b.spawned && !begun) {
		return wardenFault("look at the container", err)
	}
	jobs := info.GetJobIds()
	switch {
	case len(jobs) > 0:
		b.job = uint32(jobs[0])
		b.log.Info("going on with a build", "task", b.request.TaskID, "job", b.job)
		return nil
	case begun, b.spawned, b.concluded():
		return nil
	}
	// Also one that is there: it may be as an attempt has left it that died before it had set the limits, or is about to.
	if err = b.prepare(ctx); err == nil {
		err = b.spawn(ctx)
	}
	if b.over(err) {
		return nil
	}
	return err
}

func (b *build) spawn(ctx context.Context) error {
	script, err := b.script()
	if err != nil {
		return err
	}
	if err := b.space.Begin(); err != nil {
		return nodeFault("the build's begin cannot be noted", err)
	}
	spawned, err := b.warden.Spawn(ctx, &wardenpb.SpawnRequest{
		Handle: proto.String(b.handle), Script: proto.String(script), DiscardOutput: proto.Bool(true),
		Rlimits: b.rlimits(),
	})
	if err != nil {
		return wardenFault("start the build", err)
	}
	b.job, b.spawned = spawned.GetJobId(), true
	b.log.Info("building", "app", b.request.AppID, "task", b.request.TaskID, "job", b.job)
	return nil
}

func (b *build) rlimits() *wardenpb.ResourceLimits {
	// A file of its own disk cannot be larger, and one of those that it leaves on the node's disk must not be: the look at
	// their sizes comes too late for what takes room at once.
	limits := &wardenpb.ResourceLimits{Fsize: proto.Uint64(uint64(b.diskMB()+packingOverheadMB) * bytesPerMB)}
	if fds := b.request.Properties.Resources.FDs; fds > 0 {
		limits.Nofile = proto.Uint64(uint64(fds))
	}
	return limits
}

func (b *build) script() (string, error) {
	vars, err := appenv.Fixed(b.config.Staging.Environment)
	if err != nil {
		return "", api.Final(api.ErrStager, "the node's staging environment is wrong", err)
	}
	own, err := appenv.Staging(b.request, stagingSeconds(b.config))
	if err != nil {
		return "", api.Final(api.ErrStaging, err.Error(), nil)
	}
	return runspec.RunnerScript([]string{appenv.Script(append(vars, own...))}, "stage"), nil
}

// link waits for the end of the job, or stops it when its time is over. The time is counted from the first
// job's begin, as the workspace has it, so that a build gains nothing by the death of a worker.
func (b *build) link(ctx context.Context) error {
	limited, cancel := context.WithDeadlineCause(ctx, b.deadline(), errBuildTime)
	defer cancel()
	limited, stop := b.watchSize(limited)
	defer stop()
	response, err := b.warden.Link(limited, &wardenpb.LinkRequest{
		Handle: proto.String(b.handle), JobId: proto.Uint32(b.job),
	})
	switch {
	case err == nil:
		b.heard(response)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(context.Cause(limited), errBuildTime):
		return cmp.Or(b.quiet(ctx), timeExpired(errBuildTime))
	case errors.Is(context.Cause(limited), errBuildSize):
		return cmp.Or(b.quiet(ctx), tooMuch(b.diskMB()))
	case errors.Is(err, warden.ErrNoSuchJob):
		// Another attempt, whose heartbeat was lost, has heard of its end: what is there now says whether it was the build.
		return nil
	default:
		return wardenFault("wait for the build", err)
	}
}

var errBuildTime = errors.New("the build took too long")

// errBuildSize: the files that the build leaves on the node's own disk are too large.
var errBuildSize = errors.New("the build writes too much")

// sizeLook is between two looks at what a build has written onto the node's disk.
const sizeLook = time.Second

// watchSize gives a context that ends with errBuildSize when the build has written more onto the node's disk than it may:
// a droplet and a cache are packed from the container's own disk, so each can be as large as that, and the log has its limit.
func (b *build) watchSize(ctx context.Context) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for pause.For(watched, sizeLook) {
			if b.wroteTooMuch() {
				cancel(errBuildSize)
			}
		}
	}()
	return watched, func() { cancel(nil); <-ended }
}

func (b *build) wroteTooMuch() bool {
	most := (2*b.diskMB() + b.config.Staging.Limits.LogMB + packingOverheadMB) * bytesPerMB
	size, err := b.space.Size()
	return err == nil && size > most
}

// packingOverheadMB is more than what archives of incompressible files are larger than these.
const packingOverheadMB = 64

func tooMuch(diskMB int64) error {
	return api.Final(api.ErrStaging,
		fmt.Sprintf("the build's droplet, cache and log are larger than its disk of %d MB could hold", diskMB), errBuildSize)
}

func timeExpired(cause error) error {
	return api.Final(api.ErrStagingTimeExpired, runspec.WordsTimeExpired, cause)
}

func (b *build) deadline() time.Time {
	began := time.Now()
	if at, ok := b.space.Began(); ok && at.Before(began) {
		began = at
	}
	return began.Add(b.config.Staging.MaxStagingDuration + timeoutMargin)
}

// quiet ends whatever the build left running, so that nobody writes into the workspace any more: what is there becomes
// part of the node's cache as it is. A container that is gone is quiet.
func (b *build) quiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	_, err := b.warden.Stop(ctx, &wardenpb.StopRequest{Handle: proto.String(b.handle), Kill: proto.Bool(true)})
	if err != nil && !errors.Is(err, warden.ErrUnknownHandle) {
		return api.Transient(api.ErrWarden, "the container could not be stopped after its build", err)
	}
	return nil
}

// result reads what the build left behind. Its own fault becomes the error.
func (b *build) result() (BuildResult, error) {
	result, err := b.space.Result()
	switch {
	case errors.Is(err, runspec.ErrNoResult):
		return BuildResult{}, b.noResult(err)
	case err != nil:
		return BuildResult{}, api.Final(api.ErrStager, "the build left a result that cannot be read", err)
	case result.Error != nil:
		return BuildResult{}, api.Final(stagingType(result.Error.Type), clip(result.Error.Message), nil)
	}
	if b.wroteTooMuch() {
		return BuildResult{}, tooMuch(b.diskMB())
	}
	result.DetectedBuildpack = cleantext.Line(result.DetectedBuildpack)
	return BuildResult{Result: result}, nil
}

// noResult says why a build that ended told nothing: the runner itself was ended, or never began.
func (b *build) noResult(cause error) error {
	if slices.Contains(b.ended.GetInfo().GetEvents(), api.ExitOutOfMemory) {
		return api.Final(api.ErrStaging,
			fmt.Sprintf("the build ran out of memory: %d MB are its limit", b.memoryMB()), cause)
	}
	// Another attempt may have stopped it for either.
	if b.wroteTooMuch() {
		return tooMuch(b.diskMB())
	}
	if time.Now().After(b.deadline()) {
		return timeExpired(cause)
	}
	if kind, words := runspec.FaultOf(int(b.ended.GetExitStatus())); b.ended != nil && words != "" {
		// The runner could not write it down, for want of room.
		return api.Final(stagingType(kind), words+"; the staging log says why", cause)
	}
	if b.ended == nil {
		return api.Final(api.ErrStager, "the build was lost", errors.Join(cause, errors.New("its job is gone")))
	}
	return api.Final(api.ErrStager,
		fmt.Sprintf("the build ended with status %d and left no result", b.ended.GetExitStatus()), cause)
}

// stagingType lets through the error types that a staging may end with; any other is the platform's fault.
func stagingType(t runspec.ErrorType) api.ErrorType {
	switch known := api.ErrorType(t); known {
	case api.ErrNoAppDetected, api.ErrBuildpackCompile, api.ErrBuildpackRelease, api.ErrStagingTimeExpired, api.ErrStaging:
		return known
	default:
		return api.ErrStager
	}
}

func clip(message string) string {
	if len(message) > maxMessage {
		message = message[:maxMessage] + "…"
	}
	return cleantext.Line(message)
}
