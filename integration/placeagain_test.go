package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// TestPlacementThatDiedIsNotBookedTwice has each placement lose its answer: what it booked is taken by its second attempt,
// and given back where that may not have it.
func TestPlacementThatDiedIsNotBookedTwice(t *testing.T) {
	l := newLedgers(t, "again", 6)
	const apps = 20
	var ids []string
	var drained string
	var params []activities.PlaceParams
	for i := range apps {
		params = append(params, l.app(fmt.Sprint("app", i), 1, api.Resources{MemoryMB: 1, DiskMB: 1}))
		ids = append(ids, params[i].Reservations[0].ID)
	}
	results := placeAgain(t, l.stack, params, func(context.Context, activities.PlaceResult) error { return nil })
	booked := l.booked(t)
	require.Len(t, booked, apps)
	for i, id := range ids {
		require.Equal(t, booked[id], results[i].Placed[id].Node)
	}

	// The node takes no more work by then.
	one := l.app("moved", 1, api.Resources{MemoryMB: 1, DiskMB: 1})
	id := one.Reservations[0].ID
	results = placeAgain(t, l.stack+"-drained", []activities.PlaceParams{one}, func(ctx context.Context, first activities.PlaceResult) error {
		drained = first.Placed[id].Node
		_, err := api.UpdateDrain.Call(ctx, shared.Temporal, api.NodeWorkflowID(drained), "", api.DrainRequest{Draining: true})
		if err == nil {
			l.listed(t, api.NodeDraining, 1)
		}
		return err
	})
	require.NotEqual(t, drained, results[0].Placed[id].Node)
	eventually(t, soon, func() error {
		ledger, err := api.QueryNode.Ask(t.Context(), shared.Temporal, api.NodeWorkflowID(drained))
		for _, r := range ledger.Reservations {
			if r.ID == id {
				err = errors.Join(err, errors.New("it is still booked at the node that it was first placed on"))
			}
		}
		return err
	})
	require.Equal(t, results[0].Placed[id].Node, l.booked(t)[id])
}

// placeAgain runs Place as an activity whose first attempt fails after it has booked, and after between.
func placeAgain(
	t *testing.T, queue string, params []activities.PlaceParams, between func(context.Context, activities.PlaceResult) error,
) []activities.PlaceResult {
	t.Helper()
	const name = "place"
	w := worker.New(shared.Temporal, queue, worker.Options{})
	w.RegisterActivityWithOptions(func(ctx context.Context, params activities.PlaceParams) (activities.PlaceResult, error) {
		result, err := newPlacement().Place(ctx, params) // A new one, as after a death.
		if activity.GetInfo(ctx).Attempt > 1 || err != nil {
			return result, err
		}
		if err := between(ctx, result); err != nil {
			return result, err
		}
		return result, errors.New("the answer is lost")
	}, activity.RegisterOptions{Name: name})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context, params activities.PlaceParams) (activities.PlaceResult, error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: later})
		var result activities.PlaceResult
		err := workflow.ExecuteActivity(ctx, name, params).Get(ctx, &result)
		return result, err
	}, workflow.RegisterOptions{Name: name})
	require.NoError(t, w.Start())
	defer w.Stop()
	var runs []client.WorkflowRun
	for i, one := range params {
		run, err := shared.Temporal.ExecuteWorkflow(t.Context(),
			client.StartWorkflowOptions{ID: fmt.Sprint(queue, i), TaskQueue: queue}, name, one)
		require.NoError(t, err)
		runs = append(runs, run)
	}
	results := make([]activities.PlaceResult, len(runs))
	for i, run := range runs {
		require.NoError(t, run.Get(t.Context(), &results[i]))
		require.Empty(t, results[i].Refused)
	}
	return results
}
