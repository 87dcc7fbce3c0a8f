package workflows

import (
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// Timeouts, by what they are for.
const (
	// heartbeatTimeout is how long a worker may be silent about an activity before another attempt begins. It is
	// what a killed worker costs before its work goes on.
	heartbeatTimeout = 10 * time.Second
	// nodeTimeout is how long an activity may wait for its node's worker before the node is taken for lost.
	nodeTimeout = 60 * time.Second
	// secondNodeTimeout is for the second try of an activity that no worker took: a worker that is there takes it within
	// milliseconds, and one that has lost Temporal's server finds it again within some 20 s.
	secondNodeTimeout = 30 * time.Second
	// quickTimeout bounds one attempt of what talks to Temporal or to Warden and never waits for an app.
	quickTimeout = 30 * time.Second
	// transferTimeout bounds one attempt of a download or upload; it ends itself much sooner when nothing moves.
	transferTimeout = 2 * time.Hour
	// buildTimeout bounds one attempt of a build; max_staging_duration of the node, a day at most, ends it sooner.
	buildTimeout = 25 * time.Hour
	// launchTimeout bounds one attempt of a launch; the app's health check timeout, an hour at most, ends it sooner.
	launchTimeout = 2 * time.Hour
	// createLimit bounds all attempts to bring a droplet here and to make its container.
	createLimit = 30 * time.Minute
	// retireTimeout bounds one attempt of taking an instance down: hooks of a minute each, and 10 s from TERM to KILL.
	retireTimeout = 3 * time.Minute
	// retireLimit bounds all of them: no instance is STOPPING for longer.
	retireLimit = 15 * time.Minute
	// cleanUpTimeout bounds all attempts to clean up after a staging. What is left then is the supervisor's.
	cleanUpTimeout = 5 * time.Minute
	// reportTimeout bounds one attempt of the completion callback.
	reportTimeout = time.Minute
)

// retryUntilDone is for what must come to pass as long as the node lives: clean-up.
func retryUntilDone() *temporal.RetryPolicy {
	return &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, MaximumInterval: 10 * time.Second}
}

// retryDeaths is for work in containers: it outlasts some minutes without Warden, and many deaths of the worker. What
// the app itself is to blame for is never retried.
func retryDeaths() *temporal.RetryPolicy {
	return &temporal.RetryPolicy{
		InitialInterval: 200 * time.Millisecond, MaximumInterval: 5 * time.Second, MaximumAttempts: 60,
	}
}

// retryOutage is for transfers and for placement, which a restart of the other side or a short fault of the network
// may disturb: some six seconds in all.
func retryOutage() *temporal.RetryPolicy {
	return &temporal.RetryPolicy{
		InitialInterval: 200 * time.Millisecond, MaximumInterval: 5 * time.Second, MaximumAttempts: 6,
	}
}

// retryUpload is for the droplet, which took a whole build to make: it outlasts a restart of the cloud controller, some
// quarter of an hour in all.
func retryUpload() *temporal.RetryPolicy {
	return &temporal.RetryPolicy{
		InitialInterval: 200 * time.Millisecond, MaximumInterval: 10 * time.Second, MaximumAttempts: 95,
	}
}

// retryReport is for the completion callback, which a restart of the cloud controller may keep from being heard: at once
// again, then less and less often, for as long as the activity's own timeout has it.
func retryReport() *temporal.RetryPolicy {
	return &temporal.RetryPolicy{InitialInterval: 200 * time.Millisecond, MaximumInterval: 10 * time.Second}
}

// onNode is for activities of a node. A worker that does not come for nodeTimeout makes the activity fail with a
// schedule-to-start timeout, which nodeGone tells.
func onNode(
	ctx workflow.Context, node string, limit time.Duration, retry *temporal.RetryPolicy, summary string,
) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              api.NodeTaskQueue(node),
		ScheduleToStartTimeout: nodeTimeout,
		StartToCloseTimeout:    limit,
		HeartbeatTimeout:       heartbeatTimeout,
		RetryPolicy:            retry,
		Summary:                summary,
	})
}

// patient has an activity of a node wait for its worker for as long as the node itself does. grace is 0 where that is not
// known.
func patient(ctx workflow.Context, grace time.Duration) workflow.Context {
	return workflow.WithScheduleToStartTimeout(ctx, max(grace, nodeTimeout))
}

// routing is for RouteInstance, which waits for the node's worker for as long as its workflow goes on.
func routing(ctx workflow.Context, node string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           api.NodeTaskQueue(node),
		StartToCloseTimeout: quickTimeout,
		RetryPolicy:         retryUntilDone(),
		Summary:             "give the instance its new routes",
	})
}

// askTwice runs an activity with the options of onNode or cleaningUp that ctx carries. When no worker took it, it is
// scheduled once more: an absence of Temporal's server looks the same, and then every worker is back a moment after the
// server is. Only then is the node taken for lost.
func askTwice[In, Out any](ctx workflow.Context, a activities.Activity[In, Out], in In) (Out, error) {
	out, err := a.Run(ctx, in)
	if !nodeGone(err) || ctx.Err() != nil {
		return out, err
	}
	options := workflow.GetActivityOptions(ctx)
	options.ScheduleToStartTimeout = secondNodeTimeout
	return a.Run(workflow.WithActivityOptions(ctx, options), in)
}

// cleaningUp is for activities of a node that must come to pass although the workflow was cancelled.
func cleaningUp(ctx workflow.Context, node string, limit time.Duration, summary string) workflow.Context {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              api.NodeTaskQueue(node),
		ScheduleToStartTimeout: nodeTimeout,
		StartToCloseTimeout:    limit,
		HeartbeatTimeout:       heartbeatTimeout,
		RetryPolicy:            retryUntilDone(),
		Summary:                summary,
	})
}

// onAnyWorker is for activities that touch no node.
func onAnyWorker(
	ctx workflow.Context, limit time.Duration, retry *temporal.RetryPolicy, summary string,
) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           api.TaskQueue,
		StartToCloseTimeout: limit,
		RetryPolicy:         retry,
		Summary:             summary,
	})
}

// placing is for Place, whose worker is not waited for longer than a heartbeat when it dies.
func placing(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithHeartbeatTimeout(onAnyWorker(ctx, quickTimeout, retryOutage(), summary), heartbeatTimeout)
}

// reporting is for the completion callback, which is tried as long as patience lasts. It heartbeats: whoever died with it
// is not waited for as long as a slow controller is.
func reporting(ctx workflow.Context, patience time.Duration) workflow.Context {
	ctx = onAnyWorker(ctx, reportTimeout, retryReport(), "tell the cloud controller")
	return workflow.WithHeartbeatTimeout(workflow.WithScheduleToCloseTimeout(ctx, patience), heartbeatTimeout)
}

const timeoutScheduleToStart = enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START
