package controller

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/api"
)

// Stage begins to stage an app, and returns as soon as that is recorded. A staging of the same app that still goes on is
// cancelled, as a cloud controller does. The same task id twice is one staging, also when it has ended; Staging.Again tells
// so. Fails with ErrInvalid for a request that can never work, and with ErrNoWorker when no worker takes it up within
// CallTimeout: then the same request may be sent again.
func (c *Client) Stage(ctx context.Context, request api.StagingRequest) (*Staging, error) {
	if err := request.Validate(); err != nil {
		return nil, invalid(err)
	}
	limited, cancel := c.call(ctx)
	defer cancel()
	s := c.Staging(request.AppID, request.TaskID)
	answer, err := begin(limited, c, keeper{
		id: api.StagingsWorkflowID(s.AppID), workflow: api.WorkflowAppStagings, kind: api.KindStagings, app: s.AppID,
		summary: "Stages app " + s.AppID + ", the newest request alone",
		input:   api.StagingsInput{AppID: s.AppID},
	}, api.UpdateStage, uuid.NewString(), api.StageInput{Request: request})
	if err != nil {
		return nil, explain(ctx, err, stagingSubject(s.TaskID))
	}
	s.Again = answer.Again
	return s, nil
}

// StageJSON is Stage for a request in the wire's form, as a cloud controller sends it: at most api.MaxStagingRequestBytes of
// JSON, whose unknown fields are dropped. Fails with ErrInvalid also for what is no such request.
func (c *Client) StageJSON(ctx context.Context, text []byte) (*Staging, error) {
	request, err := api.ParseStagingRequest(text)
	if err != nil {
		return nil, invalid(err)
	}
	return c.Stage(ctx, request)
}

// LatestStaging is the staging of an app that was begun last, ended or not. Fails with ErrNoSuchStaging for an app that was
// never staged, or so long ago that Temporal has forgotten it.
func (c *Client) LatestStaging(ctx context.Context, app string) (*Staging, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	status, err := retry(limited, func() (api.StagingsStatus, error) {
		status, err := api.QueryStagings.Ask(limited, c.temporal, api.StagingsWorkflowID(app))
		if err == nil && status.Newest == "" { // it was started, and its first request is still to come
			err = serviceerror.NewNotFound("no staging was begun")
		}
		return status, err
	})
	if err != nil {
		return nil, explain(ctx, err, appStagingSubject(app))
	}
	return c.Staging(app, status.Newest), nil
}

// cancelStagings tells every staging of an app that goes on to stop. It waits for none: each cleans up by itself.
func (c *Client) cancelStagings(ctx context.Context, app string) error {
	limited, cancel := c.call(ctx)
	defer cancel()
	err := c.temporal.CancelWorkflow(limited, api.StagingsWorkflowID(app), "")
	var missing *serviceerror.NotFound
	if err != nil && !errors.As(err, &missing) { // the app has none that goes on
		return fmt.Errorf("cancel the stagings: %w", err)
	}
	return nil
}

// awaitStagings waits until no staging of an app goes on, however the last one ended.
func (c *Client) awaitStagings(ctx context.Context, app string) error {
	err := c.await(ctx, api.StagingsWorkflowID(app), nil)
	var failed *temporal.WorkflowExecutionError // a cancelled one ends so
	var missing *serviceerror.NotFound
	if err != nil && !errors.As(err, &failed) && !errors.As(err, &missing) {
		return fmt.Errorf("wait for the stagings: %w", err)
	}
	return nil
}
