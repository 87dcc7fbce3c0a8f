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
type bell struct {
	client     *Client
	workflowID string

	// run is the run that is listened to, empty before the first; first is the one that its chain began with.
	run, first string
	// heard is the last event that what was asked since knows of; page is where the history goes on.
	heard int64
	page  []byte
	// over is set once the run's last event was heard.
	over bool
}

// next returns at once when it is called first, and then when the workflow has done something since it returned last, however
// much. It follows the workflow from run to run and is false once its last one has ended. It fails with serviceerror.NotFound for
// a workflow that is not known, and when it cannot be listened to for as long as an outage may last.
func (b *bell) next(ctx context.Context) (bool, error) {
	for b.run != "" && !b.over {
		if rang, err := b.listen(ctx); rang || err != nil {
			return rang, err
		}
	}
	return b.newestRun(ctx)
}

// newestRun goes over to the workflow's newest run, of which everything up to now is to be asked; false when it is closed, or
// one of another beginning: then the one that was listened to is gone.
func (b *bell) newestRun(ctx context.Context) (bool, error) {
	info, err := outlast(ctx, b.client, lasting(ctx), func() (*workflowpb.WorkflowExecutionInfo, error) {
		limited, cancel := b.client.call(ctx)
		defer cancel()
		description, err := b.client.temporal.DescribeWorkflowExecution(limited, b.workflowID, "")
		return description.GetWorkflowExecutionInfo(), err
	})
	if err != nil {
		return false, err
	}
	begun := b.run != ""
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
	answer, err := outlast(ctx, b.client, lasting(ctx), func() (*workflowservice.GetWorkflowExecutionHistoryResponse, error) {
		limited, cancel := context.WithTimeout(ctx, longPoll)
		defer cancel()
		return b.client.temporal.WorkflowService().GetWorkflowExecutionHistory(limited, &workflowservice.GetWorkflowExecutionHistoryRequest{
			Namespace:     b.client.namespace,
			Execution:     &commonpb.WorkflowExecution{WorkflowId: b.workflowID, RunId: b.run},
			NextPageToken: b.page, MaximumPageSize: pageSize,
			WaitNewEvent: true, SkipArchival: true,
		})
	})
	var stale *serviceerror.InvalidArgument
	if errors.As(err, &stale) && b.page != nil { // the server has been replaced by one that counts otherwise
		b.page = nil
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b.page = answer.GetNextPageToken()
	b.over = len(b.page) == 0
	return b.take(answer), nil
}

// take reads a part of the history. Only a task that was done can have changed what a workflow answers: what else is written
// comes with one or before one. A server that sends events as it stores them is taken at its word.
func (b *bell) take(answer *workflowservice.GetWorkflowExecutionHistoryResponse) bool {
	rang := len(answer.GetRawHistory()) > 0
	for _, event := range answer.GetHistory().GetEvents() {
		rang = rang || event.GetEventId() > b.heard && taskDone(event)
		b.heard = max(b.heard, event.GetEventId())
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
