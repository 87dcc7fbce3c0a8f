package activities

import (
	"context"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/internal/claims"
)

// Activity is the name of an activity type together with the types of its argument and its result.
type Activity[In, Out any] struct{ name string }

// Name is the activity type's name in histories.
func (a Activity[In, Out]) Name() string { return a.name }

// Start schedules the activity with the options that ctx carries.
func (a Activity[In, Out]) Start(ctx workflow.Context, in In) Running[Out] {
	return Running[Out]{workflow.ExecuteActivity(ctx, a.name, in)}
}

// Run schedules the activity and waits for its result.
func (a Activity[In, Out]) Run(ctx workflow.Context, in In) (Out, error) {
	return a.Start(ctx, in).Get(ctx)
}

// Running is an activity that was scheduled.
type Running[Out any] struct{ workflow.Future }

// Get waits for the result.
func (r Running[Out]) Get(ctx workflow.Context) (Out, error) {
	var out Out
	err := r.Future.Get(ctx, &out)
	return out, err
}

func (a Activity[In, Out]) register(to worker.ActivityRegistry, do func(context.Context, In) (Out, error)) {
	to.RegisterActivityWithOptions(do, activity.RegisterOptions{Name: a.name})
}

// None is the result of an activity that has nothing to say but whether it worked.
type None struct{}

func silent[In any](do func(context.Context, In) error) func(context.Context, In) (None, error) {
	return func(ctx context.Context, in In) (None, error) { return None{}, do(ctx, in) }
}

// The activities that touch no node. They run on api.TaskQueue.
var (
	Place         = Activity[PlaceParams, PlaceResult]{"Place"}
	ReportStaging = Activity[ReportParams, None]{"ReportStaging"}
)

// The activities of a node. They run on api.NodeTaskQueue.
var (
	SetUpStaging    = Activity[SetUpParams, SetUpResult]{"SetUpStaging"}
	BuildApp        = Activity[BuildParams, BuildResult]{"BuildApp"}
	UploadDroplet   = Activity[UploadParams, UploadResult]{"UploadDroplet"}
	CleanUpStaging  = Activity[CleanUpParams, None]{"CleanUpStaging"}
	DownloadDroplet = Activity[DropletParams, DropletResult]{"DownloadDroplet"}
	StartInstance   = Activity[StartParams, StartResult]{"StartInstance"}
	CreateInstance  = Activity[CreateParams, CreateResult]{"CreateInstance"}
	LaunchInstance  = Activity[LaunchParams, LaunchResult]{"LaunchInstance"}
	RouteInstance   = Activity[RouteParams, None]{"RouteInstance"}
	RetireInstance  = Activity[RetireParams, None]{"RetireInstance"}
	Supervise       = Activity[SuperviseParams, SuperviseResult]{"Supervise"}
)

// Set is all activities of one worker.
type Set struct {
	Placement       *Placement
	CloudController *CloudController
	Droplets        *Droplets
	Containers      *Containers
	Supervision     *Supervision
}

// RegisterShared registers what any worker may do, for the queue api.TaskQueue.
func (s Set) RegisterShared(to worker.ActivityRegistry) {
	Place.register(to, s.Placement.Place)
	ReportStaging.register(to, silent(s.CloudController.Report))
}

// RegisterNode registers what only the node's own worker does, for the queue that api.NodeTaskQueue names.
func (s Set) RegisterNode(to worker.ActivityRegistry) {
	var one claims.Claims
	SetUpStaging.register(to, claiming(&one, s.Containers.SetUp))
	BuildApp.register(to, claiming(&one, s.Containers.Build))
	UploadDroplet.register(to, claiming(&one, s.CloudController.Upload))
	CleanUpStaging.register(to, retiring(&one, silent(s.Containers.CleanUp)))
	DownloadDroplet.register(to, claiming(&one, s.Droplets.Download))
	StartInstance.register(to, claiming(&one, s.Containers.Start))
	CreateInstance.register(to, claiming(&one, s.Containers.Create))
	LaunchInstance.register(to, claiming(&one, s.Containers.Launch))
	RouteInstance.register(to, silent(s.Containers.Route))
	RetireInstance.register(to, retiring(&one, silent(s.Containers.Retire)))
	Supervise.register(to, s.Supervision.Supervise)
}
