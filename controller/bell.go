package controller

import (
	"context"
	"errors"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
)

// longPoll is more than the server waits for something new before it says that there is nothing.
const longPoll = 70 * time.Second

// bell rings when a workflow may have changed: its history grows with each of its tasks. That costs the server one waiting
// request and no worker anything; what has changed is to be asked.
//
// The first run that is listened to is read from its first event, though only what comes is wanted: a request waits for new
// events behind a page of the run alone, and where a page ends only the page before it says (the token is the server's
// own). Other waiting requests wait for a run's end, and an update for one would be written to the history. That costs a
// follower some thousand events once, in the background: Temporal suggests the next run at 4,096.
type bell struct {
	client     *Client
	workflowID string

	// run is the run that is listened to, empty before the first; first is the one that its chain began with.
	run, first string
	// heard is the last event that what was asked since knows of; page is where the history goes on.
	heard int64
	page  []byte
	// over is set once the run's last event was heard, following then to the run that continues it, if one does.
	over      bool
	following string
	// begun are the ids of the child workflows that were heard to begin; whoever listens takes them.
	begun []string
}

// next returns at once when it is called first, and then when the workflow has done something since it returned last, however
// much. It follows the workflow from run to run and is false once its last one has ended. It fails with serviceerror.NotFound for
// a workflow that is not known, and when it cannot be listened to for as long as an outage may last.
func (b *bell) next(ctx context.Context) (bool, error) {
	for b.run != "" {
		if b.over && b.following == "" {
			break
		}
		if b.over { // of a run that began while it was listened to, every event is news
			b.run, b.following, b.heard, b.page, b.over = b.following, "", 0, nil, false
		}
		if rang, err := b.listen(ctx); rang || err != nil {
			return rang, err
		}
	}
	return b.newestRun(ctx)
}

// newestRun goes over to the workflow's newest run, of which everything up to now is to be asked; false when it is closed,
// forgotten, or one of another beginning: then the one that was listened to is gone.
func (b *bell) newestRun(ctx context.Context) (bool, error) {
	info, err := outlast(ctx, b.client, lasting(ctx), func() (*workflowpb.WorkflowExecutionInfo, error) {
		limited, cancel := b.client.call(ctx)
		defer cancel()
		description, err := b.client.temporal.DescribeWorkflowExecution(limited, b.workflowID, "")
		return description.GetWorkflowExecutionInfo(), err
	})
	begun := b.run != ""
	var gone *serviceerror.NotFound
	if begun && errors.As(err, &gone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if begun && info.GetFirstRunId() != b.first {
		return false, nil
	}
	b.run, b.first = info.GetExecution().GetRunId(), info.GetFirstRunId()
	b.heard, b.page, b.over = info.GetHistoryLength(), nil, false
	return info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
}

// listen waits for the next part of the run's history, as much as there is, and tells of a task that was done since the
// workflow was asked last.
func (b *bell) listen(ctx context.Context) (bool, error) {
	answer, err := b.client.poll(ctx, b.workflowID, b.run, b.page, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	var stale *serviceerror.InvalidArgument
	var gone *serviceerror.NotFound
	switch {
	case errors.As(err, &stale) && b.page != nil: // the server has been replaced by one that counts otherwise
		b.page = nil
		return false, nil
	case errors.As(err, &gone): // of a run that ended long ago
		b.over, b.following = true, ""
		return false, nil
	case err != nil:
		return false, err
	}
	b.page = answer.GetNextPageToken()
	b.over = len(b.page) == 0
	return b.take(answer), nil
}

// poll waits for the next part of a run's history; it gives an empty one when nothing has come for a while.
func (c *Client) poll(
	ctx context.Context, workflowID, run string, page []byte, events enumspb.HistoryEventFilterType,
) (*workflowservice.GetWorkflowExecutionHistoryResponse, error) {
	return outlast(ctx, c, lasting(ctx), func() (*workflowservice.GetWorkflowExecutionHistoryResponse, error) {
		limited, cancel := context.WithTimeout(ctx, longPoll)
		defer cancel()
		return c.temporal.WorkflowService().GetWorkflowExecutionHistory(limited, &workflowservice.GetWorkflowExecutionHistoryRequest{
			Namespace:     c.namespace,
			Execution:     &commonpb.WorkflowExecution{WorkflowId: workflowID, RunId: run},
			NextPageToken: page, MaximumPageSize: pageSize, HistoryEventFilterType: events,
			WaitNewEvent: true, SkipArchival: true,
		})
	})
}

// take reads a part of the history. Only a task that was done can have changed what a workflow answers: what else is written
// comes with one or before one. A server that sends events as it stores them is taken at its word, and tells of no child.
func (b *bell) take(answer *workflowservice.GetWorkflowExecutionHistoryResponse) bool {
	rang := len(answer.GetRawHistory()) > 0
	for _, event := range answer.GetHistory().GetEvents() {
		if b.over {
			b.following = event.GetWorkflowExecutionContinuedAsNewEventAttributes().GetNewExecutionRunId()
		}
		if event.GetEventId() <= b.heard {
			continue
		}
		b.heard = event.GetEventId()
		rang = rang || taskDone(event)
		if child := event.GetChildWorkflowExecutionStartedEventAttributes(); child != nil {
			b.begun = append(b.begun, child.GetWorkflowExecution().GetWorkflowId())
		}
	}
	return rang
}

func taskDone(event *historypb.HistoryEvent) bool {
	return event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
}

// lasting tells what a follower waits for to pass by itself, as long as ctx lets it: what retry does, a server that is away,
// and an answer that did not come in time.
func lasting(ctx context.Context) func(error) bool {
	return func(err error) bool {
		return ctx.Err() == nil && (passing(err) || isUnreachable(err) || isTimeout(err))
	}
}
