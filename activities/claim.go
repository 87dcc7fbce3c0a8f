package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/activity"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/claims"
)

// claimer is a parameter that says which thing of the node's its activity works on. Two activities with the same
// claim never run at once: the newer ends the older.
type claimer interface{ claim() string }

func (p SetUpParams) claim() string   { return api.StagingHandle(p.Request.TaskID) }
func (p BuildParams) claim() string   { return api.StagingHandle(p.Request.TaskID) }
func (p UploadParams) claim() string  { return api.StagingHandle(p.Request.TaskID) }
func (p CleanUpParams) claim() string { return api.StagingHandle(p.TaskID) }
func (p DropletParams) claim() string { return "droplet-" + strings.ToLower(p.SHA1) }
func (p StartParams) claim() string   { return p.InstanceID }
func (p CreateParams) claim() string  { return p.InstanceID }
func (p LaunchParams) claim() string  { return p.InstanceID }
func (p RetireParams) claim() string  { return p.InstanceID }

// claiming runs an activity under the claim of its parameters. It heartbeats from the very beginning, since waiting for
// earlier work to end may take longer than the heartbeat timeout.
func claiming[In claimer, Out any](
	set *claims.Claims, do func(context.Context, In) (Out, error),
) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (Out, error) {
		ctx = withProgress(ctx)
		defer heartbeat(ctx)()
		var none Out
		info := activity.GetInfo(ctx)
		claimed, end, err := set.Begin(ctx, in.claim(), claims.Work{
			Run: info.WorkflowExecution.RunID, Activity: info.ActivityID, Attempt: info.Attempt,
		})
		if errors.Is(err, claims.ErrRetired) {
			return none, api.Final(api.ErrInvalidRequest, "what this was for is gone already", err)
		}
		if err != nil {
			return none, err
		}
		defer end()
		out, err := do(claimed, in)
		if err != nil && claimed.Err() != nil && ctx.Err() == nil {
			return none, fmt.Errorf("%w: %w", context.Cause(claimed), err)
		}
		return out, err
	}
}

// retiring runs an activity after whatever works under the claim of its parameters has ended.
func retiring[In claimer, Out any](
	set *claims.Claims, do func(context.Context, In) (Out, error),
) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (Out, error) {
		defer heartbeat(ctx)()
		if err := set.Retire(ctx, in.claim(), activity.GetInfo(ctx).WorkflowExecution.RunID); err != nil {
			var none Out
			return none, fmt.Errorf("wait for the work on %s to end: %w", in.claim(), err)
		}
		return do(ctx, in)
	}
}
