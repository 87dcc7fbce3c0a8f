// Package placement chooses nodes. It knows only advertisements: whether a node really has the room, the node's own
// ledger says.
package placement

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/durable-dea/dea/api"
)

// Node is a node as its advertisement has it.
type Node struct {
	ID     string
	Zone   string
	State  api.NodeState
	Stacks []string
	Free   api.Resources
}

// Ready tells whether the node takes work.
func (n Node) Ready() bool { return n.State == api.NodeReady }

// Rule is how a node is chosen among those that have room, of which there must be one at least.
type Rule func(candidates []Node, app *Spread, random *rand.Rand) Node

// Constrain gives the nodes that could take a reservation, and what they lack where none could: the constraint that
// most nodes fail on, state where there is no node at all.
func Constrain(nodes []Node, stack string, need api.Resources) ([]Node, api.Constraint) {
	var fit []Node
	lacking := map[api.Constraint]int{}
	for _, n := range nodes {
		switch {
		case !slices.Contains(n.Stacks, stack):
			lacking[api.ConstraintStack]++
		case n.Free.MemoryMB < need.MemoryMB:
			lacking[api.ConstraintMemory]++
		case n.Free.DiskMB < need.DiskMB:
			lacking[api.ConstraintDisk]++
		default:
			fit = append(fit, n)
		}
	}
	if len(fit) > 0 {
		return fit, ""
	}
	for _, c := range []api.Constraint{api.ConstraintMemory, api.ConstraintDisk, api.ConstraintStack} {
		if lacking[c] > 0 {
			return nil, c
		}
	}
	return nil, api.ConstraintState
}

// ForInstance is the rule for instances: the zone with the fewest instances of the app, then the fewest instances of
// the app, then the upper half by free memory, then at random. It follows cloud_controller_ng's dea/pool.rb.
func ForInstance(candidates []Node, app *Spread, random *rand.Rand) Node {
	candidates = fewest(candidates, func(n Node) int { return app.zones[n.Zone] })
	candidates = fewest(candidates, func(n Node) int { return app.nodes[n.ID] })
	candidates = byMemory(candidates)
	return candidates[random.IntN((len(candidates)+1)/2)]
}

// ForStaging is the rule for stagings: at random among the five with the most memory, or a tenth of all where that is
// more. It follows cloud_controller_ng's dea/stager_pool.rb.
func ForStaging(candidates []Node, _ *Spread, random *rand.Rand) Node {
	top := max(5, len(candidates)/10)
	candidates = byMemory(candidates)
	return candidates[random.IntN(min(top, len(candidates)))]
}

func fewest(nodes []Node, count func(Node) int) []Node {
	least := count(slices.MinFunc(nodes, func(a, b Node) int { return cmp.Compare(count(a), count(b)) }))
	return slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return count(n) != least })
}

func byMemory(nodes []Node) []Node {
	return slices.SortedFunc(slices.Values(nodes), func(a, b Node) int {
		return cmp.Compare(b.Free.MemoryMB, a.Free.MemoryMB)
	})
}
