package activities

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/placement"
)

func viewed(id, zone string, memory int64) placement.Node {
	return placement.Node{ID: id, Zone: zone, Stacks: []string{"host"}, Free: api.Resources{MemoryMB: memory, DiskMB: 10_000}}
}

func instances(n int, memory int64) PlaceParams {
	params := PlaceParams{Stack: "host"}
	for i := range n {
		params.Reservations = append(params.Reservations, api.Reservation{
			ID: fmt.Sprint("i-", i), Kind: api.KindInstance, Resources: api.Resources{MemoryMB: memory, DiskMB: 1},
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
		answer := api.ReserveResult{}
		for _, reservation := range batch {
			if node == "a" {
				answer.Refused = map[string]api.Constraint{reservation.ID: api.ConstraintState}
			} else {
				answer.Accepted = append(answer.Accepted, reservation.ID)
			}
		}
		r.settle(node, batch, answer)
	}
	require.Len(t, r.open, 1)
	require.Equal(t, map[string]int{"b": 1}, counts(r.choose()), "the node that refused is not asked again")
}

func TestAFullViewIsNotBelieved(t *testing.T) {
	r := newRound(instances(1, 50), []placement.Node{viewed("a", "z", 10)})
	require.Equal(t, map[string]int{"a": 1}, counts(r.choose()), "an advertisement lags; the ledger has the last word")
	require.Equal(t, api.ConstraintMemory, r.result.Refused["i-0"], "and if it says no as well, this is why")
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
