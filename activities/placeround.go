package activities

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/placement"
)

// round is one call of Place: what is still open, and what is known by now of the nodes that take work.
type round struct {
	params PlaceParams
	rule   placement.Rule
	random *rand.Rand
	nodes  []placement.Node
	spread *placement.Spread
	open   []api.Reservation
	result PlaceResult
}

func newRound(params PlaceParams, nodes []placement.Node) *round {
	r := &round{
		params: params, rule: placement.ForInstance, spread: placement.NewSpread(nodes, params.Spread), open: params.Reservations,
		random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		result: PlaceResult{Placed: map[string]Placed{}, Refused: map[string]api.Constraint{}},
	}
	if len(params.Reservations) > 0 && params.Reservations[0].Kind == api.KindStaging {
		r.rule = placement.ForStaging
	}
	for _, n := range nodes {
		if n.Ready() && (params.Only == "" || n.ID == params.Only) && !slices.Contains(params.Avoid, n.ID) {
			r.nodes = append(r.nodes, n)
		}
	}
	return r
}

// choose deals the open reservations out to nodes, as one batch a node. Where no advertisement has room, a node is
// asked all the same: advertisements lag, the ledger does not.
func (r *round) choose() map[string][]api.Reservation {
	batches := map[string][]api.Reservation{}
	for _, reservation := range r.open {
		candidates, lacking := placement.Constrain(r.nodes, reservation.Stack, reservation.Resources)
		if lacking != "" {
			// What a node has said already is not lost on those that are left, which may not even have the stack.
			r.result.Refused[reservation.ID] = cmp.Or(r.result.Refused[reservation.ID], lacking)
			candidates, _ = placement.Constrain(r.nodes, reservation.Stack, api.Resources{MemoryMB: -1 << 40, DiskMB: -1 << 40})
		}
		if len(candidates) == 0 {
			continue
		}
		node := r.rule(candidates, r.spread, r.random)
		batches[node.ID] = append(batches[node.ID], reservation)
		r.spread.Add(node.ID, 1)
		r.take(node.ID, reservation.Resources)
	}
	return batches
}

func (r *round) take(node string, used api.Resources) {
	for i := range r.nodes {
		if r.nodes[i].ID == node {
			r.nodes[i].Free.MemoryMB -= used.MemoryMB
			r.nodes[i].Free.DiskMB -= used.DiskMB
		}
	}
}

// settle takes a node's answer in. A node that refused anything, or did not answer, is not asked again in this call.
func (r *round) settle(a answer) {
	if a.err != nil {
		r.spread.Add(a.node, -len(a.batch))
		r.drop(a.node)
		return
	}
	for _, id := range a.result.Accepted {
		r.result.Placed[id] = Placed{
			Node: a.node, FilesURL: a.result.FilesURL, Host: a.result.Host,
			CompletionPatience: a.result.CompletionPatience, Grace: a.result.Grace,
		}
		delete(r.result.Refused, id)
	}
	r.open = slices.DeleteFunc(slices.Clone(r.open), func(o api.Reservation) bool {
		return slices.Contains(a.result.Accepted, o.ID)
	})
	for id, constraint := range a.result.Refused {
		r.result.Refused[id] = constraint
		r.spread.Add(a.node, -1)
	}
	if len(a.result.Refused) > 0 {
		r.drop(a.node)
	}
}

func (r *round) drop(node string) {
	r.nodes = slices.DeleteFunc(slices.Clone(r.nodes), func(n placement.Node) bool { return n.ID == node })
}
