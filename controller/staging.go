package controller

import (
	"context"
	"errors"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/api"
)

// Staging is one staging of one app, begun by Stage or by somebody else.
type Staging struct {
	// AppID and TaskID name it.
	AppID, TaskID string
	// Again is set by Stage when a staging of this task had been begun before: it is that one, ended or not.
	Again bool

	client *Client
}

// Staging is a handle on a staging that was begun before; nothing is asked yet.
func (c *Client) Staging(app, task string) *Staging {
	return &Staging{AppID: app, TaskID: task, client: c}
}

func (s *Staging) workflow() string { return api.StageWorkflowID(s.AppID, s.TaskID) }

// Wait waits for the staging's end, as long as ctx lets it and through five minutes of Temporal's absence. A staging that
// made no droplet fails with ErrStagingFailed, and the result says the same in the wire's form; the end of ctx does
// not cancel the staging.
func (s *Staging) Wait(ctx context.Context) (api.StagingResult, error) {
	var result api.StagingResult
	err := s.client.await(ctx, s.workflow(), &result)
	var missing *serviceerror.NotFound
	switch {
	case errors.As(err, &missing), ctx.Err() != nil && err != nil, isUnreachable(err):
		return result, explain(ctx, err, stagingSubject(s.TaskID))
	case err != nil:
		info := stagingError(err)
		return s.failed(s.reached(ctx), info), s.failure(ctx, info, err)
	case result.ErrorInfo != nil:
		return s.failed(result, *result.ErrorInfo), s.failure(ctx, *result.ErrorInfo, nil)
	}
	return result, nil
}

// reached is how far a staging came that failed: a failed workflow has no result, but its query still answers. What
// cannot be asked soon stays empty.
func (s *Staging) reached(ctx context.Context) api.StagingResult {
	limited, cancel := context.WithTimeout(ctx, detailTimeout)
	defer cancel()
	status, err := s.Status(limited)
	switch {
	case err != nil:
		return api.StagingResult{}
	case status.Result == nil:
		return api.StagingResult{NodeID: status.Node}
	default:
		return *status.Result
	}
}

// failure explains why a staging failed. That there is not enough room means something else where no node takes work.
func (s *Staging) failure(ctx context.Context, info api.ErrorInfo, cause error) error {
	if cause == nil {
		cause = api.Final(info.Type, info.Message, nil)
	}
	if info.Type == api.ErrInsufficientResources {
		if words, next := s.client.NoReadyNode(ctx); words != "" {
			return &Error{ErrStagingFailed, words, next, cause}
		}
	}
	return &Error{ErrStagingFailed, info.Message, stagingAdvice(info), cause}
}

// stagingError explains how the workflow failed.
func stagingError(err error) api.ErrorInfo {
	info := api.Explain(err, api.ErrStager)
	if temporal.IsCanceledError(err) && info.Type == api.ErrStager {
		info = api.ErrorInfo{Type: api.ErrStaging, Message: api.StagingTaskStopped}
	}
	return info
}

// stagingAdvice says what a user may do about a failure.
func stagingAdvice(info api.ErrorInfo) string {
	if info.Message == api.StagingTaskStopped {
		return "it was cancelled, a later push of the same app took its place, or the app was deleted"
	}
	switch info.Type {
	case api.ErrNoAppDetected:
		return "no buildpack knows this app; name one with --buildpack, or look at what lies at its top"
	case api.ErrBuildpackCompile, api.ErrBuildpackRelease:
		return "the staging log says why"
	case api.ErrInsufficientResources:
		return "ask for less memory or disk or another stack, or add a node (`starter nodes` shows what there is)"
	case api.ErrStagingTimeExpired:
		return "make the build shorter, or let the operator raise staging.max_staging_duration"
	default:
		return ""
	}
}

func (s *Staging) failed(result api.StagingResult, info api.ErrorInfo) api.StagingResult {
	result.AppID, result.TaskID = s.AppID, s.TaskID
	result.Error, result.ErrorInfo = info.Message, &info
	return result
}

// Status tells what the staging is doing, or did last. Its SetUp is set once the staging's container is there, which is what
// a DEA answered first; its Result once the staging has ended. Fails with ErrNoSuchStaging.
func (s *Staging) Status(ctx context.Context) (api.StagingStatus, error) {
	limited, cancel := s.client.call(ctx)
	defer cancel()
	status, err := retry(limited, func() (api.StagingStatus, error) {
		return api.QueryStaging.Ask(limited, s.client.temporal, s.workflow())
	})
	return status, explain(ctx, err, stagingSubject(s.TaskID))
}

// Cancel tells the staging to stop and to clean up; Wait waits until it has. One that has ended is left as it is.
func (s *Staging) Cancel(ctx context.Context) error {
	limited, cancel := s.client.call(ctx)
	defer cancel()
	err := s.client.temporal.CancelWorkflow(limited, s.workflow(), "")
	return explain(ctx, err, stagingSubject(s.TaskID))
}
