package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/benchmark"
)

const (
	workflowQueue = "bench"
	// activityQueue is another one, as a node's is.
	activityQueue = "bench.activities"

	updateName, queryName, endName = "update", "query", "end"

	// warmUp is run and not counted: connections, caches and the first pages of the database.
	warmUp = 20
	// samples is how often what is fast is measured; a median of so many is steady to a few per cent.
	samples = 200

	manyWorkflows      = 300
	activitiesPerChain = 5
)

// chain runs so many empty activities, one after another.
func chain(ctx workflow.Context, activities int) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: activityQueue, StartToCloseTimeout: time.Minute,
	})
	for range activities {
		if err := workflow.ExecuteActivity(ctx, empty).Get(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

func empty(context.Context) error { return nil }

// answering takes an update and a query until it is told to end.
func answering(ctx workflow.Context) error {
	count := 0
	err := workflow.SetUpdateHandlerWithOptions(ctx, updateName, func(workflow.Context) (int, error) {
		count++
		return count, nil
	}, workflow.UpdateHandlerOptions{Validator: func() error { return nil }})
	if err != nil {
		return err
	}
	if err := workflow.SetQueryHandler(ctx, queryName, func() (int, error) { return count, nil }); err != nil {
		return err
	}
	workflow.GetSignalChannel(ctx, endName).Receive(ctx, nil)
	return nil
}

// measureTemporal measures what the workflows are made of, on the stack's Temporal with the stack's encryption.
func measureTemporal(ctx context.Context, s *stack.Stack) ([]benchmark.Row, error) {
	workflows := worker.New(s.Temporal, workflowQueue, worker.Options{})
	workflows.RegisterWorkflow(chain)
	workflows.RegisterWorkflow(answering)
	activities := worker.New(s.Temporal, activityQueue, worker.Options{})
	activities.RegisterActivity(empty)
	for _, w := range []worker.Worker{workflows, activities} {
		if err := w.Start(); err != nil {
			return nil, fmt.Errorf("start a worker: %w", err)
		}
		defer w.Stop()
	}

	activity, err := timeActivities(ctx, s.Temporal)
	if err != nil {
		return nil, err
	}
	update, query, err := timeUpdates(ctx, s.Temporal)
	if err != nil {
		return nil, err
	}
	throughput, err := timeMany(ctx, s.Temporal)
	if err != nil {
		return nil, err
	}
	return []benchmark.Row{
		benchmark.Make("empty activity", "ms", activity, update, benchmark.AtMost(10)),
		benchmark.Make("workflow update", "ms", update, query, benchmark.AtMost(6)),
		benchmark.Make("activities of 300 workflows of 5", "activities/s", throughput, 1000/activity,
			benchmark.AtLeast(150)),
	}, nil
}

func startChain(ctx context.Context, c client.Client, activities int) (client.WorkflowRun, error) {
	return c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: "bench/" + uuid.NewString(), TaskQueue: workflowQueue,
	}, chain, activities)
}

// timeActivities is the median of the times between an activity's schedule and the next one's, as the history has them.
func timeActivities(ctx context.Context, c client.Client) (float64, error) {
	run, err := startChain(ctx, c, warmUp+samples)
	if err == nil {
		err = run.Get(ctx, nil)
	}
	if err != nil {
		return 0, fmt.Errorf("run a workflow of many activities: %w", err)
	}
	var scheduled []time.Time
	events := c.GetWorkflowHistory(ctx, run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return 0, fmt.Errorf("read a history: %w", err)
		}
		if event.EventType == enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED {
			scheduled = append(scheduled, event.EventTime.AsTime())
		}
	}
	var took []time.Duration
	for before, after := range pairs(scheduled) {
		took = append(took, after.Sub(before))
	}
	return benchmark.Median(took[warmUp:]), nil
}

func pairs(times []time.Time) func(yield func(time.Time, time.Time) bool) {
	return func(yield func(time.Time, time.Time) bool) {
		for i := 1; i < len(times); i++ {
			if !yield(times[i-1], times[i]) {
				return
			}
		}
	}
}

// timeUpdates is the median of an update, and that of a query, of one workflow.
func timeUpdates(ctx context.Context, c client.Client) (update, query float64, err error) {
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: "bench/" + uuid.NewString(), TaskQueue: workflowQueue,
	}, answering)
	if err != nil {
		return 0, 0, fmt.Errorf("start the workflow that answers: %w", err)
	}
	updates, err := timeEach(func() error {
		handle, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
			WorkflowID: run.GetID(), UpdateName: updateName, WaitForStage: client.WorkflowUpdateStageCompleted,
		})
		if err != nil {
			return fmt.Errorf("update: %w", err)
		}
		return handle.Get(ctx, nil)
	})
	queries, failed := timeEach(func() error {
		_, err := c.QueryWorkflow(ctx, run.GetID(), run.GetRunID(), queryName)
		return err
	})
	err = errors.Join(err, failed, c.SignalWorkflow(ctx, run.GetID(), run.GetRunID(), endName, nil), run.Get(ctx, nil))
	return benchmark.Median(updates), benchmark.Median(queries), err
}

// timeEach does something often and gives how long it took each time, the first times left out.
func timeEach(do func() error) ([]time.Duration, error) {
	var took []time.Duration
	for range warmUp + samples {
		begun := time.Now()
		if err := do(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	return slices.Clone(took[warmUp:]), nil
}

// timeMany is how many activities a second are done when many workflows of a few of them start at once.
func timeMany(ctx context.Context, c client.Client) (float64, error) {
	begun := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range manyWorkflows {
		group.Go(func() error {
			run, err := startChain(ctx, c, activitiesPerChain)
			if err != nil {
				return err
			}
			return run.Get(ctx, nil)
		})
	}
	if err := group.Wait(); err != nil {
		return 0, fmt.Errorf("run %d workflows: %w", manyWorkflows, err)
	}
	return manyWorkflows * activitiesPerChain / time.Since(begun).Seconds(), nil
}
