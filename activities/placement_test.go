package activities

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/placement"
)

func viewed(id, zone string, memory int64) placement.Node {
	return placement.Node{ID: id, Zone: zone, State: api.NodeReady, Stacks: []string{"host"}, Free: api.Resources{MemoryMB: memory, DiskMB: 10_000}}
}

func instances(n int, memory int64) PlaceParams {
	var params PlaceParams
	for i := range n {
		params.Reservations = append(params.Reservations, api.Reservation{
			ID: fmt.Sprint("i-", i), Kind: api.KindInstance, Resources: api.Resources{MemoryMB: memory, DiskMB: 1}, Stack: "host",
		})
	}
	return params
}

func counts(batches map[string][]api.Reservation) map[string]int {
	count := map[string]int{}
	for node, batch := range batches {
		count[node] = len(batch)
	}
	return count
}

func TestABatchIsSpreadOverZonesAndNodes(t *testing.T) {
	r := newRound(instances(4, 10), []placement.Node{viewed("a", "z1", 100), viewed("b", "z1", 100), viewed("c", "z2", 100)})
	require.Equal(t, map[string]int{"a": 1, "b": 1, "c": 2}, counts(r.choose()))
}

func TestABatchDoesNotOverfillANode(t *testing.T) {
	r := newRound(instances(3, 60), []placement.Node{viewed("a", "z", 130), viewed("b", "z", 70)})
	require.Equal(t, map[string]int{"a": 2, "b": 1}, counts(r.choose()))
}

func TestRefusedReservationsGoElsewhere(t *testing.T) {
	r := newRound(instances(2, 10), []placement.Node{viewed("a", "z1", 100), viewed("b", "z2", 100)})
	for node, batch := range r.choose() {
		said := api.ReserveResult{}
		for _, reservation := range batch {
			if node == "a" {
				said.Refused = map[string]api.Constraint{reservation.ID: api.ConstraintState}
			} else {
				said.Accepted = append(said.Accepted, reservation.ID)
			}
		}
		r.settle(answer{node: node, batch: batch, result: said})
	}
	require.Len(t, r.open, 1)
	require.Equal(t, map[string]int{"b": 1}, counts(r.choose()), "the node that refused is not asked again")
}

func TestANodeThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	r := newRound(instances(1, 10), []placement.Node{viewed("a", "z1", 100), viewed("b", "z1", 100), viewed("c", "z2", 100)})
	for node, batch := range r.choose() {
		r.settle(answer{node: node, batch: batch, err: errNoTurn})
		require.NotContains(t, counts(r.choose()), node)
	}
	require.Len(t, r.open, 1)
}

func TestWhatANodeRefusedDoesNotCountForItsZone(t *testing.T) {
	for range 20 {
		r := newRound(instances(1, 10), []placement.Node{viewed("a", "z1", 100), viewed("b", "z1", 100), viewed("c", "z2", 100)})
		r.nodes = r.nodes[:2] // what is asked first is in z1
		var first string
		for node, batch := range r.choose() {
			first = node
			refused := map[string]api.Constraint{batch[0].ID: api.ConstraintMemory}
			r.settle(answer{node: node, batch: batch, result: api.ReserveResult{Refused: refused}})
		}
		r.nodes = append(r.nodes, viewed("c", "z2", 100))
		r.open = instances(2, 10).Reservations
		again := counts(r.choose())
		require.NotContains(t, again, first)
		require.Equal(t, 1, again["c"], "the zones are even again: one instance for each")
	}
}

func TestInstancesOnNodesThatTakeNoWorkCountForTheirZone(t *testing.T) {
	for state, want := range map[api.NodeState]string{
		api.NodeDraining: "c", api.NodeSuspect: "c", api.NodeEvacuating: "b", api.NodeStateLost: "b",
	} {
		view := []placement.Node{viewed("a", "z1", 100), viewed("b", "z1", 100), viewed("c", "z2", 100), viewed("d", "z2", 1)}
		view[0].State = state
		params := instances(1, 10)
		params.Spread = map[string]int{"a": 2, "d": 1}
		require.Equal(t, map[string]int{want: 1}, counts(newRound(params, view).choose()), state)
	}
}

func TestInstancesOnFullNodesCountForTheirZone(t *testing.T) {
	params := instances(1, 10)
	params.Spread = map[string]int{"a": 2, "c": 1}
	view := []placement.Node{viewed("a", "z1", 1), viewed("b", "z1", 100), viewed("c", "z2", 100)}
	require.Equal(t, map[string]int{"c": 1}, counts(newRound(params, view).choose()))
}

func TestAFullViewIsNotBelieved(t *testing.T) {
	r := newRound(instances(1, 50), []placement.Node{viewed("a", "z", 10)})
	require.Equal(t, map[string]int{"a": 1}, counts(r.choose()), "an advertisement lags; the ledger has the last word")
	require.Equal(t, api.ConstraintMemory, r.result.Refused["i-0"], "and if it says no as well, this is why")
}

func TestTheReasonIsThatOfANodeWithTheStack(t *testing.T) {
	other := viewed("b", "z", 100)
	other.Stacks = []string{"other"}
	r := newRound(instances(1, 50), []placement.Node{viewed("a", "z", 100), other})
	for node, batch := range r.choose() {
		refused := map[string]api.Constraint{batch[0].ID: api.ConstraintMemory}
		r.settle(answer{node: node, batch: batch, result: api.ReserveResult{Refused: refused}})
	}
	require.Empty(t, r.choose())
	require.Equal(t, map[string]api.Constraint{"i-0": api.ConstraintMemory}, r.result.Refused)
}

func TestOnlyAndAvoidRestrictTheChoice(t *testing.T) {
	nodes := []placement.Node{viewed("a", "z", 100), viewed("b", "z", 100), viewed("c", "z", 100)}
	params := instances(1, 1)
	params.Only = "b"
	require.Equal(t, map[string]int{"b": 1}, counts(newRound(params, nodes).choose()))
	params.Only, params.Avoid = "", []string{"a", "b"}
	require.Equal(t, map[string]int{"c": 1}, counts(newRound(params, nodes).choose()))
}

func TestTheSharedViewIsNotChangedByARound(t *testing.T) {
	view := []placement.Node{viewed("a", "z", 100), viewed("b", "z", 100)}
	r := newRound(instances(2, 40), view)
	r.choose()
	r.drop("a")
	require.Equal(t, []placement.Node{viewed("a", "z", 100), viewed("b", "z", 100)}, view)
}
