package activities

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/placement"
)

// viewAge is how old a view of the nodes may be. Visibility itself lags a little more.
const viewAge = 2 * time.Second

// visibilityLag is how long what a workflow says of itself may take until it is listed.
const visibilityLag = 3 * time.Second

// nodesQuery finds the ledgers of the nodes that take work.
var nodesQuery = fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running' AND %s = '%s'",
	api.WorkflowNode, api.SearchState.GetName(), api.NodeReady)

// Placement books room on nodes.
type Placement struct {
	temporal  client.Client
	namespace string
	log       hclog.Logger

	// fetching is held by the one who asks visibility: the others wait and take what it got.
	fetching sync.Mutex
	view     []placement.Node
	viewedAt time.Time
}

// NewPlacement makes the activities of placement for the nodes of one namespace.
func NewPlacement(temporal client.Client, namespace string, log hclog.Logger) *Placement {
	return &Placement{temporal: temporal, namespace: namespace, log: log.Named("placement")}
}

// PlaceParams asks for room for several reservations of one app.
type PlaceParams struct {
	Stack        string            `json:"stack"`
	Reservations []api.Reservation `json:"reservations"`
	// Spread is how many instances of the app each node has already, by node.
	Spread map[string]int `json:"spread,omitempty"`
	// Only restricts the choice to one node, Avoid takes some out of it.
	Only  string   `json:"only,omitempty"`
	Avoid []string `json:"avoid,omitempty"`
}

// PlaceResult says where the reservations are, and why the others are not.
type PlaceResult struct {
	// Placed is by reservation id.
	Placed map[string]Placed `json:"placed,omitempty"`
	// Refused says of each other one which resource no node has enough of.
	Refused map[string]api.Constraint `json:"refused,omitempty"`
}

// Placed is where a reservation is.
type Placed struct {
	Node     string `json:"node"`
	FilesURL string `json:"files_url"`
	Host     string `json:"host"`
	// CompletionPatience is the node's; see api.NodeAdvertisement.
	CompletionPatience time.Duration `json:"completion_patience,omitempty"`
}

// Place books each reservation on the node that the placement rule prefers. A node has the last word: what it refuses
// is tried on the next.
//
// Run twice, what the first run booked on the same node is booked once; what it booked elsewhere is given back by
// that node's supervisor, which finds it held by nobody. Cancelled it leaves what it booked, likewise. It heartbeats
// nothing.
func (p *Placement) Place(ctx context.Context, params PlaceParams) (PlaceResult, error) {
	nodes, err := p.nodes(ctx)
	if err != nil {
		return PlaceResult{}, err
	}
	round := newRound(params, nodes)
	for attempt := 0; len(round.open) > 0 && len(round.nodes) > 0 && attempt < maxRounds; attempt++ {
		for node, batch := range round.choose() {
			if err := p.reserve(ctx, round, node, batch); err != nil {
				return PlaceResult{}, err
			}
		}
	}
	for _, r := range round.open {
		if _, known := round.result.Refused[r.ID]; !known {
			round.result.Refused[r.ID] = api.ConstraintState // no node answered
		}
	}
	return round.result, nil
}

// nodePatience is how long one node's answer is waited for. A ledger answers within milliseconds.
const nodePatience = 5 * time.Second

// maxRounds bounds how often refused reservations are tried elsewhere.
const maxRounds = 10

func (p *Placement) reserve(ctx context.Context, round *round, node string, batch []api.Reservation) error {
	limited, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	answer, err := api.UpdateReserve.Call(limited, p.temporal, api.NodeWorkflowID(node), "",
		api.ReserveRequest{Stack: round.params.Stack, Reservations: batch})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.log.Warn("a node could not be asked, trying others", "node", node, "error", err)
		round.drop(node)
		return p.takeBack(ctx, node, batch)
	}
	round.settle(node, batch, answer)
	return nil
}

// takeBack releases what a node may have booked without saying so: a signal is carried out after an update that came
// before it. The supervisor of a node that cannot be told either finds out in time.
func (p *Placement) takeBack(ctx context.Context, node string, batch []api.Reservation) error {
	var ids []string
	for _, r := range batch {
		ids = append(ids, r.ID)
	}
	err := api.SignalRelease.Send(ctx, p.temporal, api.NodeWorkflowID(node), api.ReleaseRequest{IDs: ids})
	if err != nil {
		p.log.Warn("what a node may have booked is left to its supervisor", "node", node, "error", err)
	}
	return ctx.Err()
}

// nodes is a view of all nodes that take work, fetched at most viewAge ago and shared by all placements. An empty one is
// looked at again for as long as visibility may lag: a node that has just joined is not refused what it has room for.
func (p *Placement) nodes(ctx context.Context) ([]placement.Node, error) {
	asked := time.Now()
	p.fetching.Lock()
	defer p.fetching.Unlock()
	if p.viewedAt.After(asked) || len(p.view) > 0 && time.Since(p.viewedAt) < viewAge {
		return p.view, nil
	}
	limited, cancel := context.WithTimeout(ctx, visibilityLag)
	defer cancel()
	tick := time.NewTicker(visibilityLag / 10)
	defer tick.Stop()
	for {
		nodes, err := p.list(ctx)
		if err != nil {
			return nil, err
		}
		p.view, p.viewedAt = nodes, time.Now()
		if len(nodes) > 0 {
			return nodes, nil
		}
		select {
		case <-tick.C:
		case <-limited.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *Placement) list(ctx context.Context) ([]placement.Node, error) {
	var nodes []placement.Node
	var page []byte
	for {
		answer, err := p.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Namespace: p.namespace, Query: nodesQuery, NextPageToken: page,
		})
		if err != nil {
			return nil, fmt.Errorf("list the nodes: %w", err)
		}
		for _, execution := range answer.GetExecutions() {
			nodes = append(nodes, fromAttributes(execution.GetSearchAttributes().GetIndexedFields()))
		}
		if page = answer.GetNextPageToken(); len(page) == 0 {
			return nodes, nil
		}
	}
}

// fromAttributes reads an advertisement. Search attributes are never encrypted. One that is missing, which only a
// node that has never advertised lacks, stays zero, and so attracts nothing.
func fromAttributes(fields map[string]*commonpb.Payload) placement.Node {
	get := func(name string, into any) {
		if payload, ok := fields[name]; ok {
			_ = converter.GetDefaultDataConverter().FromPayload(payload, into)
		}
	}
	var n placement.Node
	get(api.SearchNode.GetName(), &n.ID)
	get(api.SearchZone.GetName(), &n.Zone)
	get(api.SearchStacks.GetName(), &n.Stacks)
	get(api.SearchFreeMemory.GetName(), &n.Free.MemoryMB)
	get(api.SearchFreeDisk.GetName(), &n.Free.DiskMB)
	return n
}

// round is one call of Place: what is still open, and what is known of the nodes by now.
type round struct {
	params PlaceParams
	rule   placement.Rule
	random *rand.Rand
	nodes  []placement.Node
	spread placement.Spread
	open   []api.Reservation
	result PlaceResult
}

func newRound(params PlaceParams, nodes []placement.Node) *round {
	r := &round{
		params: params, rule: placement.ForInstance, spread: placement.Spread{}, open: params.Reservations,
		random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		result: PlaceResult{Placed: map[string]Placed{}, Refused: map[string]api.Constraint{}},
	}
	if len(params.Reservations) > 0 && params.Reservations[0].Kind == api.KindStaging {
		r.rule = placement.ForStaging
	}
	for node, count := range params.Spread {
		r.spread[node] = count
	}
	for _, n := range nodes {
		if (params.Only == "" || n.ID == params.Only) && !slices.Contains(params.Avoid, n.ID) {
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
		candidates, lacking := placement.Constrain(r.nodes, r.params.Stack, reservation.Resources)
		if lacking != "" {
			r.result.Refused[reservation.ID] = lacking
			candidates, _ = placement.Constrain(r.nodes, r.params.Stack, api.Resources{MemoryMB: -1 << 40, DiskMB: -1 << 40})
		}
		if len(candidates) == 0 {
			continue
		}
		node := r.rule(candidates, r.spread, r.random)
		batches[node.ID] = append(batches[node.ID], reservation)
		r.spread[node.ID]++
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

// settle takes a node's answer in. A node that refused anything is not asked again in this call.
func (r *round) settle(node string, batch []api.Reservation, answer api.ReserveResult) {
	for _, id := range answer.Accepted {
		r.result.Placed[id] = Placed{
			Node: node, FilesURL: answer.FilesURL, Host: answer.Host, CompletionPatience: answer.CompletionPatience,
		}
		delete(r.result.Refused, id)
	}
	r.open = slices.DeleteFunc(slices.Clone(r.open), func(o api.Reservation) bool {
		return slices.Contains(answer.Accepted, o.ID)
	})
	if len(answer.Refused) == 0 {
		return
	}
	for _, reservation := range batch {
		if constraint, refused := answer.Refused[reservation.ID]; refused {
			r.result.Refused[reservation.ID] = constraint
			r.spread[node]--
		}
	}
	r.drop(node)
}

func (r *round) drop(node string) {
	r.nodes = slices.DeleteFunc(slices.Clone(r.nodes), func(n placement.Node) bool { return n.ID == node })
}
