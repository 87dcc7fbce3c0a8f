package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/runspec"
)

// showTimes tells a person where the time of two stagings went, one by hand and one by the platform.
func (b *stagingBench) showTimes(ctx context.Context, title string, hand handRun, staging stagingRun, runs int) error {
	spans, err := b.spans(ctx, staging)
	if err != nil {
		return err
	}
	const head = "\nstaging of %s: %s ms, the median of %d; a droplet of %.3g MB\n"
	fmt.Fprintf(os.Stderr, head, title+" by hand", millis(hand.took()), runs, megabytes(hand.droplet))
	if err := hand.show(os.Stderr); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, head, title, millis(staging.took()), runs, megabytes(dropletOf(spans)))
	return staging.show(os.Stderr, spans)
}

func (r handRun) show(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "AT\tTOOK\t  STEP")
	before := r.begun
	for _, step := range r.steps {
		fmt.Fprintf(table, "%s\t%s\t  %s\n", millis(before.Sub(r.begun)), millis(step.over.Sub(before)), step.name)
		before = step.over
	}
	return table.Flush()
}

// span is something that a workflow's history tells of: it waited for a worker and then ran. A moment has only a
// beginning.
type span struct {
	name                      string
	scheduled, started, ended time.Time
	// built is what the runner says of itself.
	built runspec.Result
}

// dropletOf is the size of the droplet that came out in the end, in bytes.
func dropletOf(spans []*span) int64 {
	size := int64(0)
	for _, s := range spans {
		size = max(size, s.built.DropletSize)
	}
	return size
}

func megabytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func (r stagingRun) show(w io.Writer, spans []*span) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "AT\tWAITED\tRAN\t  STEP")
	acceptance := &span{name: "Stage returns", scheduled: r.accepted}
	for _, s := range spans {
		if acceptance != nil && s.scheduled.After(r.accepted) {
			acceptance.show(table, r.begun)
			acceptance = nil
		}
		s.show(table, r.begun)
	}
	(&span{name: "Wait returns", scheduled: r.ended}).show(table, r.begun)
	return table.Flush()
}

func (s *span) show(w io.Writer, begun time.Time) {
	waited, ran := "", ""
	if !s.started.IsZero() {
		waited = millis(s.started.Sub(s.scheduled))
	}
	if !s.ended.IsZero() {
		ran = millis(s.ended.Sub(s.started))
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t  %s\n", millis(s.scheduled.Sub(begun)), waited, ran, s.name)
	for _, phase := range s.built.Phases {
		fmt.Fprintf(w, "\t\t%s\t    of it the runner's %s\n", millis(phase.Duration()), phase.Name)
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }

// spans are what the history of a staging consists of, in the order in which it was wanted.
func (b *stagingBench) spans(ctx context.Context, run stagingRun) ([]*span, error) {
	return spansOf(ctx, b.Stack, api.StageWorkflowID(run.app, run.task))
}

// spansOf are what the history of a workflow consists of, in the order in which it was wanted.
func spansOf(ctx context.Context, s *stack.Stack, workflowID string) ([]*span, error) {
	ring, err := codec.LoadKeyring(s.Client.Temporal.EncryptionKeyFile)
	if err != nil {
		return nil, fmt.Errorf("load the keys: %w", err)
	}
	h := &historyReader{data: ring.DataConverter(), byEvent: map[int64]*span{}}
	events := s.Temporal.GetWorkflowHistory(ctx, workflowID, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return nil, fmt.Errorf("read a history: %w", err)
		}
		h.read(event)
	}
	return h.spans, nil
}

// historyReader puts the events of a history together that are of one thing.
type historyReader struct {
	data  converter.DataConverter
	spans []*span
	// byEvent are the spans by the id of the event that scheduled them.
	byEvent map[int64]*span
}

func (h *historyReader) read(event *historypb.HistoryEvent) {
	at := event.GetEventTime().AsTime()
	switch event.GetEventType() {
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
		h.schedule(event, "workflow task")
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED:
		h.of(event.GetWorkflowTaskStartedEventAttributes()).started = at
	case enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
		h.of(event.GetWorkflowTaskCompletedEventAttributes()).ended = at
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		h.schedule(event, event.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName())
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_STARTED:
		started := event.GetActivityTaskStartedEventAttributes()
		s := h.of(started)
		s.started = at
		if attempt := started.GetAttempt(); attempt > 1 {
			s.name += fmt.Sprintf(", attempt %d", attempt)
		}
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
		completed := event.GetActivityTaskCompletedEventAttributes()
		s := h.of(completed)
		s.ended = at
		// Only the build's result has one of the runner; what is of another kind is no failure.
		var result struct {
			Result runspec.Result `json:"result"`
		}
		_ = h.data.FromPayloads(completed.GetResult(), &result)
		s.built = result.Result
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_FAILED:
		h.of(event.GetActivityTaskFailedEventAttributes()).ended = at
	case enumspb.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
		h.of(event.GetActivityTaskTimedOutEventAttributes()).ended = at
	case enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES, enumspb.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED:
		// Parts of a workflow task.
	default: // a moment: the beginning, the end, a signal, a local activity
		h.schedule(event, event.GetEventType().String())
	}
}

func (h *historyReader) schedule(event *historypb.HistoryEvent, name string) {
	s := &span{name: name, scheduled: event.GetEventTime().AsTime()}
	h.spans = append(h.spans, s)
	h.byEvent[event.GetEventId()] = s
}

// of is the span of an event that names the one that scheduled it.
func (h *historyReader) of(event interface{ GetScheduledEventId() int64 }) *span {
	if s, ok := h.byEvent[event.GetScheduledEventId()]; ok {
		return s
	}
	return &span{}
}
