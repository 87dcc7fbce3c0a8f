package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/appenv"
	"github.com/durable-dea/dea/internal/buildpackstore"
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

// Build runs the buildpack in the staging's container, which Fetch has prepared the workspace for.
//
// Run twice it finds the container and the job of the first run and goes on with them; the buildpack never compiles
// twice. A build that ended unseen is known by its result, and one that vanished is an error of type StagerError.
// Cancelled, or when its context ends for whatever reason, it leaves the container as it is: DestroyContainer is
// for the workflow to call. It heartbeats each second.
//
// A build that takes longer than max_staging_duration is stopped, with an error of type StagingTimeExpired.
func (c *Containers) Build(ctx context.Context, params BuildParams) (BuildResult, error) {
	b := &build{
		Containers: c, request: params.Request, handle: api.StagingHandle(params.Request.TaskID),
		space: c.workspaces.Path(params.Request.TaskID),
	}
	// What is there was written by an earlier attempt's build, also when the container is gone since.
	if !b.concluded() {
		if err := b.prepare(ctx); err != nil {
			return BuildResult{}, containerFault(err)
		}
		if err := b.run(ctx); err != nil {
			return BuildResult{}, containerFault(err)
		}
	}
	b.quiet(ctx)
	return b.result()
}

// build is one attempt to build one app.
type build struct {
	*Containers
	request api.StagingRequest
	handle  string
	space   workspace.Workspace
	// job is the one to link, 0 when there is none any more.
	job uint32
	// ended is what Link said of the job, nil when nobody was there to hear it.
	ended *wardenpb.LinkResponse
}

// run ends with a build that has ended. Two attempts can both spawn a job, when the first one's heartbeat was lost but
// not its life: the runner lets only one of them build, and who linked the other goes on to that one.
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
		if b.ended != nil && b.ended.GetExitStatus() != runspec.ExitAlreadyStarted {
			return nil
		}
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

// prepare makes the container with its limits and its network, or finds the one that an earlier attempt made. Limits
// and rules are set again then: that attempt may have died in between.
func (b *build) prepare(ctx context.Context) error {
	create, err := b.createRequest()
	if err != nil {
		return err
	}
	err = b.makeContainer(ctx, create)
	if err != nil && !errors.Is(err, warden.ErrHandleInUse) {
		return wardenFault("make the container", err)
	}
	if b.started() {
		return nil
	}
	return b.limit(ctx)
}

func (b *build) limit(ctx context.Context) error {
	staging := b.config.Staging
	err := b.applyLimits(ctx, b.handle, containerLimits{
		memoryMB:  b.memoryMB(),
		diskMB:    max(staging.DiskLimitMB, b.request.DiskLimit, b.request.Properties.Resources.DiskMB),
		inodes:    staging.DiskInodeLimit,
		shares:    staging.CPULimitShares,
		bandwidth: staging.BandwidthLimit,
	})
	if err != nil {
		return err
	}
	return b.openEgress(ctx, b.handle, b.request.EgressNetworkRules)
}

func (b *build) memoryMB() int64 {
	return max(b.config.Staging.MemoryLimitMB, b.request.MemoryLimit, b.request.Properties.Resources.MemoryMB)
}

func (b *build) createRequest() (*wardenpb.CreateRequest, error) {
	choice, err := usableBuildpacks(b.request)
	if err != nil {
		return nil, err
	}
	writable := readOnly(b.space.Out(), runspec.PathOut)
	writable.Mode = wardenpb.CreateRequest_BindMount_RW.Enum()
	mounts := append(b.operatorMounts(),
		readOnly(b.space.In(), runspec.PathIn), writable, readOnly(b.runner, runspec.PathBin))
	for n, pack := range choice.Buildpacks {
		if pack.Git == nil {
			mounts = append(mounts, readOnly(buildpackstore.Dir(b.config.BaseDir, pack.Admin.Key), runspec.PathBuildpack(n)))
		}
	}
	create := &wardenpb.CreateRequest{
		Handle: proto.String(b.handle), GraceTime: proto.Uint32(graceSeconds), BindMounts: mounts,
	}
	if rootfs := b.rootfs(b.request.Stack); rootfs != "" {
		create.Rootfs = proto.String(rootfs)
	}
	return create, nil
}

// started tells whether the runner has begun in the container: what it began must not be begun again.
func (b *build) started() bool {
	_, started := b.space.Started()
	return started
}

// concluded tells whether the runner has left a result, be it one that cannot be read.
func (b *build) concluded() bool {
	_, err := b.space.Result()
	return !errors.Is(err, runspec.ErrNoResult)
}

// findOrSpawn ends with a job to link: that of an earlier attempt, or one of its own. There is none when the build has
// begun and its job is gone; its result says the rest.
func (b *build) findOrSpawn(ctx context.Context) error {
	// Looked at first: a job that begins between two looks must not pass for one that was there and is gone.
	begun := b.started()
	info, err := b.warden.Info(ctx, &wardenpb.InfoRequest{Handle: proto.String(b.handle)})
	if err != nil {
		return wardenFault("look at the container", err)
	}
	b.job, b.ended = 0, nil
	jobs := info.GetJobIds()
	switch {
	case len(jobs) > 0:
		b.job = uint32(jobs[0])
		b.log.Info("going on with a build", "task", b.request.TaskID, "job", b.job)
		return nil
	case begun, b.concluded():
		return nil
	}
	return b.spawn(ctx)
}

func (b *build) spawn(ctx context.Context) error {
	script, err := b.script()
	if err != nil {
		return err
	}
	spawned, err := b.warden.Spawn(ctx, &wardenpb.SpawnRequest{
		Handle: proto.String(b.handle), Script: proto.String(script), DiscardOutput: proto.Bool(true),
		Rlimits: b.rlimits(),
	})
	if err != nil {
		return wardenFault("start the build", err)
	}
	b.job = spawned.GetJobId()
	b.log.Info("building", "app", b.request.AppID, "task", b.request.TaskID, "job", b.job)
	return nil
}

func (b *build) rlimits() *wardenpb.ResourceLimits {
	limits := &wardenpb.ResourceLimits{}
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
	return runnerScript([]string{appenv.Script(append(vars, own...))}, "stage"), nil
}

// link waits for the end of the job, or stops it when its time is over. The time is counted from the job's begin, as
// the marker has it, so that a build gains nothing by the death of a worker.
func (b *build) link(ctx context.Context) error {
	limited, cancel := context.WithDeadlineCause(ctx, b.deadline(), errBuildTime)
	defer cancel()
	response, err := b.warden.Link(limited, &wardenpb.LinkRequest{
		Handle: proto.String(b.handle), JobId: proto.Uint32(b.job),
	})
	switch {
	case err == nil:
		b.ended = response
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(context.Cause(limited), errBuildTime):
		b.quiet(ctx)
		return timeExpired(errBuildTime)
	case errors.Is(err, warden.ErrNoSuchJob):
		// Another attempt, whose heartbeat was lost, has heard of its end: what is there now says whether it was the build.
		return nil
	default:
		return wardenFault("wait for the build", err)
	}
}

var errBuildTime = errors.New("the build took too long")

func timeExpired(cause error) error {
	return api.Final(api.ErrStagingTimeExpired, runspec.WordsTimeExpired, cause)
}

func (b *build) deadline() time.Time {
	began := time.Now()
	if at, ok := b.space.Started(); ok && at.Before(began) {
		began = at
	}
	return began.Add(b.config.Staging.MaxStagingDuration + timeoutMargin)
}

// quiet ends whatever the build left running, so that nobody writes into the workspace any more. That it fails is no
// reason to lose a droplet: the container is destroyed soon.
func (b *build) quiet(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	_, err := b.warden.Stop(ctx, &wardenpb.StopRequest{Handle: proto.String(b.handle), Kill: proto.Bool(true)})
	if err != nil && !errors.Is(err, warden.ErrUnknownHandle) {
		b.log.Warn("container not stopped after its build", "task", b.request.TaskID, "error", err)
	}
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
	return BuildResult{Result: result}, nil
}

// noResult says why a build that ended told nothing: the runner itself was ended, or never began.
func (b *build) noResult(cause error) error {
	if slices.Contains(b.ended.GetInfo().GetEvents(), api.ExitOutOfMemory) {
		return api.Final(api.ErrStaging,
			fmt.Sprintf("the build ran out of memory: %d MB are its limit", b.memoryMB()), cause)
	}
	if time.Now().After(b.deadline()) {
		return timeExpired(cause)
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
		return message[:maxMessage] + "…"
	}
	return message
}
