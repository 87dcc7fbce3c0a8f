package integration

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

const (
	ledgerMemory   = 100
	instanceMemory = 10
)

// ledgers are the workflows of nodes that have no worker: what they book is real, and nobody runs or reaps it. They alone
// offer their stack.
type ledgers struct {
	stack string
	ids   []string
	// zones is by id.
	zones map[string]string
}

// newLedgers starts ledgers in three zones with room for ten instances each, and waits until they are listed.
func newLedgers(t *testing.T, name string, count int) *ledgers {
	t.Helper()
	l := &ledgers{stack: "ledgers-" + name, zones: map[string]string{}}
	for i := range count {
		id, zone := fmt.Sprintf("%s-%d", l.stack, i), fmt.Sprint("z", i%3)
		l.ids, l.zones[id] = append(l.ids, id), zone
		run, err := shared.Temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
			ID: api.NodeWorkflowID(id), TaskQueue: api.TaskQueue,
			TypedSearchAttributes: temporal.NewSearchAttributes(
				api.SearchKind.ValueSet(string(api.KindNode)), api.SearchNode.ValueSet(id), api.SearchZone.ValueSet(zone)),
		}, api.WorkflowNode, api.NodeInput{Node: id, State: api.NodeReady, Advertisement: api.NodeAdvertisement{
			Capacity: api.Resources{MemoryMB: ledgerMemory, DiskMB: 1000}, Stacks: []string{l.stack}, Zone: zone,
			Grace: time.Hour,
		}})
		require.NoError(t, err)
		t.Cleanup(func() {
			assert.NoError(t, shared.Temporal.TerminateWorkflow(context.WithoutCancel(t.Context()), run.GetID(), "", "the test is over"))
		})
	}
	l.listed(t, api.NodeReady, count)
	return l
}

// listed waits until so many ledgers are seen in a state.
func (l *ledgers) listed(t *testing.T, state api.NodeState, count int) {
	t.Helper()
	eventually(t, soon, func() error {
		listed, err := shared.Temporal.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: shared.Client.Temporal.Namespace,
			Query:     fmt.Sprintf("ExecutionStatus = 'Running' AND DeaState = '%s' AND DeaStacks = '%s'", state, l.stack),
		})
		if err == nil && listed.GetCount() != int64(count) {
			err = fmt.Errorf("%d of %d ledgers are %s", listed.GetCount(), count, state)
		}
		return err
	})
}

// app asks for instances of an app.
func (l *ledgers) app(id string, instances int, need api.Resources) activities.PlaceParams {
	var params activities.PlaceParams
	for i := range instances {
		instance := fmt.Sprintf("%s-%s-%d", l.stack, id, i)
		params.Reservations = append(params.Reservations, api.Reservation{
			ID: instance, Kind: api.KindInstance, AppID: id, Index: i, Resources: need,
			Stack: l.stack, Workflow: api.InstanceWorkflowID(instance),
		})
	}
	return params
}

// booked is the node of each reservation, as the ledgers have it. It fails when a node gives out more than it has, or
// something is booked twice.
func (l *ledgers) booked(t *testing.T) map[string]string {
	t.Helper()
	nodes := map[string]string{}
	for _, id := range l.ids {
		status, err := api.QueryNode.Ask(t.Context(), shared.Temporal, api.NodeWorkflowID(id))
		require.NoError(t, err)
		var used int64
		for _, r := range status.Reservations {
			require.Empty(t, nodes[r.ID], "%s is booked twice", r.ID)
			nodes[r.ID] = id
			used += r.Resources.MemoryMB
		}
		require.LessOrEqual(t, used, int64(ledgerMemory), id)
		require.Equal(t, used, status.Reserved.MemoryMB)
	}
	return nodes
}

// place does what a worker does with the activity.
func place(p *activities.Placement, params activities.PlaceParams) (activities.PlaceResult, error) {
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(p.Place)
	var result activities.PlaceResult
	value, err := env.ExecuteActivity(p.Place, params)
	if err == nil {
		err = value.Get(&result)
	}
	return result, err
}

func newPlacement() *activities.Placement {
	return activities.NewPlacement(shared.Temporal, shared.Client.Temporal.Namespace, hclog.NewNullLogger())
}

// TestAnAppIsSpreadOverZones places an app as one batch, then more of it when one zone takes no more work.
func TestAnAppIsSpreadOverZones(t *testing.T) {
	l := newLedgers(t, "spread", 6)
	need := api.Resources{MemoryMB: instanceMemory, DiskMB: 1}
	result, err := place(newPlacement(), l.app("even", 12, need))
	require.NoError(t, err)
	require.Empty(t, result.Refused)
	nodes := map[string]int{}
	for id, node := range l.booked(t) {
		require.Equal(t, node, result.Placed[id].Node)
		nodes[node]++
	}
	for _, id := range l.ids {
		require.Equal(t, 2, nodes[id], "each of two nodes in each of three zones has the same")
	}

	again, err := place(newPlacement(), l.app("even", 12, need))
	require.NoError(t, err)
	require.Len(t, again.Placed, 12, "the same once more is placed, too; what is elsewhere now, its supervisor gives back")

	avoiding := l.app("avoiding", 3, need)
	avoiding.Avoid = l.ids[1:]
	result, err = place(newPlacement(), avoiding)
	require.NoError(t, err)
	for _, placed := range result.Placed {
		require.Equal(t, l.ids[0], placed.Node)
	}
}

// TestRefusalNamesWhatIsLacking asks for what no ledger has.
func TestRefusalNamesWhatIsLacking(t *testing.T) {
	l := newLedgers(t, "lacking", 2)
	for want, need := range map[api.Constraint]api.Resources{
		api.ConstraintMemory: {MemoryMB: ledgerMemory + 1, DiskMB: 1},
		api.ConstraintDisk:   {MemoryMB: 1, DiskMB: 1001},
	} {
		params := l.app("big", 1, need)
		result, err := place(newPlacement(), params)
		require.NoError(t, err)
		require.Equal(t, map[string]api.Constraint{params.Reservations[0].ID: want}, result.Refused)
	}
	require.Empty(t, l.booked(t))
}

// TestNothingIsBookedTwice has a hundred placements at once want more than there is, from few workers, whose updates are
// joined, and from so many that the server takes no more updates at a time.
func TestNothingIsBookedTwice(t *testing.T) {
	for _, workers := range []int{1, 4, 50} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			const asked, nodes = 100, 6
			l := newLedgers(t, fmt.Sprint("full-", workers), nodes)
			var placements []*activities.Placement
			for range workers {
				placements = append(placements, newPlacement())
			}
			var wait sync.WaitGroup
			results, errs := make([]activities.PlaceResult, asked), make([]error, asked)
			for i := range asked {
				params := l.app(fmt.Sprint("app", i), 1, api.Resources{MemoryMB: instanceMemory, DiskMB: 1})
				wait.Go(func() { results[i], errs[i] = place(placements[i%workers], params) })
			}
			wait.Wait()

			booked, placed := l.booked(t), 0
			for i, result := range results {
				require.NoError(t, errs[i])
				id := fmt.Sprintf("%s-app%d-0", l.stack, i)
				if at, ok := result.Placed[id]; ok {
					placed++
					assert.Equal(t, booked[id], at.Node)
					assert.Empty(t, result.Refused)
					continue
				}
				assert.Empty(t, booked[id])
				assert.Equal(t, map[string]api.Constraint{id: api.ConstraintMemory}, result.Refused)
			}
			assert.Equal(t, nodes*ledgerMemory/instanceMemory, placed, "every place is taken")
			assert.Len(t, booked, placed)
			t.Log("updates of each ledger:", updates(t, l))
		})
	}
}

// updates is how many updates each ledger has carried out, fewest first.
func updates(t *testing.T, l *ledgers) []int {
	t.Helper()
	var all []int
	for _, id := range l.ids {
		count := 0
		events := shared.Temporal.GetWorkflowHistory(t.Context(), api.NodeWorkflowID(id), "", false, 0)
		for events.HasNext() {
			event, err := events.Next()
			require.NoError(t, err)
			if event.GetWorkflowExecutionUpdateAcceptedEventAttributes() != nil {
				count++
			}
		}
		all = append(all, count)
	}
	slices.Sort(all)
	return all
}
