package placement_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/placement"
)

func node(id, zone string, memory int64) placement.Node {
	return placement.Node{
		ID: id, Zone: zone, State: api.NodeReady, Stacks: []string{"host"}, Free: api.Resources{MemoryMB: memory, DiskMB: 1000},
	}
}

// chosen counts what a rule chooses in many tries.
func chosen(rule placement.Rule, nodes []placement.Node, app map[string]int) map[string]int {
	random := rand.New(rand.NewPCG(1, 2))
	count := map[string]int{}
	for range 2000 {
		count[rule(nodes, placement.NewSpread(nodes, app), random).ID]++
	}
	return count
}

func ids(count map[string]int) []string {
	var ids []string
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		if count[id] > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

func TestInstanceRule(t *testing.T) {
	for _, c := range []struct {
		name   string
		nodes  []placement.Node
		spread map[string]int
		want   []string
	}{
		{
			"the zone with the fewest",
			[]placement.Node{node("a", "z1", 900), node("b", "z1", 900), node("c", "z2", 100)},
			map[string]int{"a": 1},
			[]string{"c"},
		},
		{
			"then the node with the fewest",
			[]placement.Node{node("a", "z1", 900), node("b", "z1", 100)},
			map[string]int{"a": 1},
			[]string{"b"},
		},
		{
			"then the upper half by memory",
			[]placement.Node{node("a", "z", 100), node("b", "z", 400), node("c", "z", 300), node("d", "z", 200)},
			nil,
			[]string{"b", "c"},
		},
		{
			"the half of three is two",
			[]placement.Node{node("a", "z", 100), node("b", "z", 400), node("c", "z", 300)},
			nil,
			[]string{"b", "c"},
		},
		{"one is enough", []placement.Node{node("a", "z", 1)}, map[string]int{"a": 9}, []string{"a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, ids(chosen(placement.ForInstance, c.nodes, c.spread)))
		})
	}
}

func TestStagingRuleTakesOneOfTheTop(t *testing.T) {
	var nodes []placement.Node
	for i := range 100 {
		nodes = append(nodes, node(fmt.Sprint(i), "z", int64(i)))
	}
	count := chosen(placement.ForStaging, nodes, nil)
	require.Len(t, count, 10, "a tenth of all")
	require.Positive(t, count["99"])
	require.Positive(t, count["90"])

	few := []placement.Node{node("a", "z", 1), node("b", "z", 2), node("c", "z", 3), node("d", "z", 4), node("e", "z", 5), node("f", "z", 6)}
	require.Equal(t, []string{"b", "c", "d", "e", "f"}, ids(chosen(placement.ForStaging, few, nil)), "five at least")
}

func TestConstrainNamesWhatIsLacking(t *testing.T) {
	small := node("a", "z", 10)
	full := node("b", "z", 1000)
	full.Free.DiskMB = 1
	other := node("c", "z", 1000)
	other.Stacks = []string{"cflinuxfs4"}
	need := api.Resources{MemoryMB: 100, DiskMB: 100}
	for _, c := range []struct {
		nodes []placement.Node
		want  api.Constraint
	}{
		{nil, api.ConstraintState},
		{[]placement.Node{small}, api.ConstraintMemory},
		{[]placement.Node{full}, api.ConstraintDisk},
		{[]placement.Node{other}, api.ConstraintStack},
		{[]placement.Node{small, full, other}, api.ConstraintMemory},
		{[]placement.Node{small, full, other, node("d", "z", 100)}, ""},
	} {
		fit, constraint := placement.Constrain(c.nodes, "host", need)
		require.Equal(t, c.want, constraint)
		require.Equal(t, constraint == "", len(fit) > 0)
	}
}

func TestAZoneCountsAllOfItsNodes(t *testing.T) {
	candidates := []placement.Node{node("b", "z1", 900), node("c", "z2", 100)}
	for _, c := range []struct {
		name   string
		state  api.NodeState
		spread map[string]int
		want   string
	}{
		{"a full node's", api.NodeReady, map[string]int{"a": 2, "c": 1}, "c"},
		{"a draining node's", api.NodeDraining, map[string]int{"a": 2, "c": 1}, "c"},
		{"a suspect node's", api.NodeSuspect, map[string]int{"a": 2, "c": 1}, "c"},
		{"not an evacuated node's, which are replaced", api.NodeEvacuating, map[string]int{"a": 2, "c": 1}, "b"},
		{"not a lost node's", api.NodeStateLost, map[string]int{"a": 2, "c": 1}, "b"},
		{"not an unknown node's", api.NodeReady, map[string]int{"x": 2, "c": 1}, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := node("a", "z1", 1)
			other.State = c.state
			spread := placement.NewSpread(append([]placement.Node{other}, candidates...), c.spread)
			require.Equal(t, c.want, placement.ForInstance(candidates, spread, rand.New(rand.NewPCG(1, 2))).ID)
		})
	}
}

func TestABatchStaysEven(t *testing.T) {
	nodes := []placement.Node{node("a", "z1", 900), node("b", "z1", 900), node("c", "z2", 900), node("d", "z3", 900)}
	spread := placement.NewSpread(nodes, map[string]int{"c": 1})
	random := rand.New(rand.NewPCG(1, 2))
	count := map[string]int{"c": 1}
	for range 11 {
		chosen := placement.ForInstance(nodes, spread, random)
		spread.Add(chosen.ID, 1)
		count[chosen.ID]++
	}
	require.Equal(t, map[string]int{"a": 2, "b": 2, "c": 4, "d": 4}, count)
}
