package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/pause"
)

const (
	// pageSize is a listing's; Temporal allows 1,000.
	pageSize = 500
	// tries and firstPause bound retry: some three seconds in all.
	tries      = 6
	firstPause = 100 * time.Millisecond
	// outage is how long a wait holds out against a server that is away.
	outage = 5 * time.Minute
	// unanswered is longer than Temporal's client tries one question of a wait again: a wait that lasted longer was
	// answered in between.
	unanswered = 3 * time.Minute
)

// retry calls again what failed of something that passes by itself: a workflow between two of its runs, one whose first
// task has not been done, or a worker that just starts. An unreachable server is not among them: Temporal's client retries that itself.
func retry[T any](ctx context.Context, call func() (T, error)) (T, error) {
	return retryIf(ctx, passing, call)
}

// retryIf is retry with another idea of what passes by itself.
func retryIf[T any](ctx context.Context, passes func(error) bool, call func() (T, error)) (T, error) {
	for try, wait := 1, firstPause; ; try, wait = try+1, wait*2 {
		value, err := call()
		if err == nil || try == tries || !passes(err) {
			return value, err
		}
		if !pause.For(ctx, wait) {
			return value, err
		}
	}
}

func passing(err error) bool {
	var notReady *serviceerror.WorkflowNotReady
	var busy *serviceerror.ResourceExhausted
	var aborted *serviceerror.Aborted
	var noPoller *serviceerror.FailedPrecondition
	return errors.As(err, &notReady) || errors.As(err, &noPoller) || errors.As(err, &busy) || errors.As(err, &aborted) ||
		isUnanswered(err)
}

// isUnanswered tells of an update that a workflow took and did not answer any more, because it ended or went over into its
// next run.
func isUnanswered(err error) bool {
	const failureType = "AcceptedUpdateCompletedWorkflow" // the server's
	var failure *temporal.ApplicationError
	return errors.As(err, &failure) && failure.Type() == failureType
}

// await waits for a workflow's end, through continuations and through an outage of the server.
func (c *Client) await(ctx context.Context, workflowID string, result any) error {
	_, err := outlast(ctx, c, isUnreachable, func() (struct{}, error) {
		return struct{}{}, c.temporal.GetWorkflow(ctx, workflowID, "").Get(ctx, result)
	})
	return err
}

// outlast calls again what failed of something that passes by itself, for as long as an outage may last since it was
// answered last.
func outlast[T any](ctx context.Context, c *Client, passes func(error) bool, call func() (T, error)) (T, error) {
	var away time.Time
	for wait := firstPause; ; wait = min(2*wait, 5*time.Second) {
		asked := c.now()
		value, err := call()
		if err == nil || !passes(err) {
			return value, err
		}
		if away.IsZero() || c.now().Sub(asked) > unanswered {
			away = c.now()
		}
		if c.now().Sub(away) > outage || !pause.For(ctx, wait) {
			return value, err
		}
	}
}

// ask queries a workflow that is open; a closed one is as missing as one that never was.
func ask[Out any](ctx context.Context, c *Client, query api.Query[Out], workflowID string) (Out, error) {
	return retry(ctx, func() (Out, error) {
		value, err := c.temporal.QueryWorkflowWithOptions(ctx, &client.QueryWorkflowWithOptionsRequest{
			WorkflowID: workflowID, QueryType: query.Name(),
			QueryRejectCondition: enumspb.QUERY_REJECT_CONDITION_NOT_OPEN,
		})
		var out Out
		if err != nil {
			return out, err
		}
		if value.QueryRejected != nil {
			return out, serviceerror.NewNotFound(fmt.Sprintf("workflow %s is closed", workflowID))
		}
		err = value.QueryResult.Get(&out)
		return out, err
	})
}

// askAll queries every open workflow of a type. What ended meanwhile is left out; of what failed otherwise the first
// error is returned, beside the answers that came.
func askAll[Out any](ctx context.Context, c *Client, workflow string, query api.Query[Out]) ([]Out, error) {
	ids, err := c.list(ctx, fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running'", workflow))
	if err != nil {
		return nil, err
	}
	return askEach(ctx, c, ids, query)
}

// askEach queries workflows by their ids, as askAll does.
func askEach[Out any](ctx context.Context, c *Client, ids []string, query api.Query[Out]) ([]Out, error) {
	return forEach(ids, func(id string) (Out, bool, error) {
		answer, err := ask(ctx, c, query, id)
		var missing *serviceerror.NotFound
		if errors.As(err, &missing) {
			return answer, false, nil
		}
		if err != nil {
			return answer, false, fmt.Errorf("ask %s: %w", id, err)
		}
		return answer, true, nil
	})
}

// forEach does something for several at once, and returns what came of those that it is true for, in no order, and the first
// error.
func forEach[In, Out any](all []In, do func(In) (Out, bool, error)) ([]Out, error) {
	var mu sync.Mutex
	done := make([]Out, 0, len(all))
	var group errgroup.Group
	group.SetLimit(parallelQueries)
	for _, one := range all {
		group.Go(func() error {
			out, ok, err := do(one)
			if ok {
				mu.Lock()
				defer mu.Unlock()
				done = append(done, out)
			}
			return err
		})
	}
	err := group.Wait()
	return done, err
}

// list gives the ids of the workflows that a visibility query finds; it lags up to 2 s.
func (c *Client) list(ctx context.Context, query string) ([]string, error) {
	var ids []string
	request := &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: c.namespace, PageSize: pageSize, Query: query,
	}
	for {
		page, err := c.temporal.ListWorkflow(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("list workflows: %w", err)
		}
		for _, execution := range page.GetExecutions() {
			ids = append(ids, execution.GetExecution().GetWorkflowId())
		}
		if len(page.GetNextPageToken()) == 0 {
			return ids, nil
		}
		request.NextPageToken = page.GetNextPageToken()
	}
}
