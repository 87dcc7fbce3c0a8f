package activities

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/placement"
)

// viewAge is how old a view of the nodes may be. Visibility itself lags a little more.
const viewAge = 2 * time.Second

// visibilityLag is how long what a workflow says of itself may take until it is listed.
const visibilityLag = 3 * time.Second

// nodesQuery finds the ledgers of all nodes: those that take no work have instances in their zones.
var nodesQuery = fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus = 'Running'", api.WorkflowNode)

// Placement books room on nodes.
type Placement struct {
	temporal  client.Client
	namespace string
	reserving *reserving
	log       hclog.Logger

	// fetching is held by the one who asks visibility: the others wait and take what it got.
	fetching sync.Mutex
	view     []placement.Node
	viewedAt time.Time
}

// NewPlacement makes the activities of placement for the nodes of one namespace.
func NewPlacement(temporal client.Client, namespace string, log hclog.Logger) *Placement {
	log = log.Named("placement")
	return &Placement{temporal: temporal, namespace: namespace, reserving: newReserving(temporal, log), log: log}
}

// PlaceParams asks for room for several reservations of one app.
type PlaceParams struct {
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
	// Grace is how long the node may be without a worker.
	Grace time.Duration `json:"grace,omitempty"`
}

// Place books each reservation on the node that the placement rule prefers. A node has the last word: what it refuses
// is tried on the next. What several calls want of a node at the same time goes there together.
//
// Run twice, it takes what the first run has booked where that node may still be chosen, and gives it back where it may
// not. What no second run finds, as of one that is cancelled, is given back by that node's supervisor, which finds it held
// by nobody. It heartbeats that it lives, nothing else: a worker that dies with it costs the heartbeat timeout.
func (p *Placement) Place(ctx context.Context, params PlaceParams) (PlaceResult, error) {
	defer heartbeat(ctx)()
	if err := (api.ReserveRequest{Reservations: params.Reservations}).Validate(); err != nil {
		return PlaceResult{}, err
	}
	nodes, err := p.nodes(ctx)
	if err != nil {
		return PlaceResult{}, err
	}
	round := newRound(params, nodes)
	if activity.GetInfo(ctx).Attempt > 1 {
		booked := p.strays(ctx, params, nodes)
		defer func() { p.giveBack(ctx, booked, round.result) }()
		for _, a := range p.ask(ctx, round.again(booked)) {
			round.settle(a)
		}
	}
	for attempt := 0; len(round.open) > 0 && len(round.nodes) > 0 && attempt < maxRounds; attempt++ {
		answers := p.ask(ctx, round.choose())
		if err := ctx.Err(); err != nil {
			return PlaceResult{}, err
		}
		for _, a := range answers {
			round.settle(a)
		}
	}
	for _, r := range round.open {
		if _, known := round.result.Refused[r.ID]; !known {
			round.result.Refused[r.ID] = api.ConstraintState // no node answered
		}
	}
	return round.result, nil
}

// maxRounds bounds how often refused reservations are tried elsewhere.
const maxRounds = 10

// answer is what a node said to a batch, or why it said nothing.
type answer struct {
	node   string
	batch  []api.Reservation
	result api.ReserveResult
	err    error
}

// ask asks several nodes at the same time and waits for all of them.
func (p *Placement) ask(ctx context.Context, batches map[string][]api.Reservation) []answer {
	var wait sync.WaitGroup
	answers := make([]answer, 0, len(batches))
	for node, batch := range batches {
		answers = append(answers, answer{node: node, batch: batch})
	}
	for i := range answers {
		a := &answers[i]
		wait.Go(func() { a.result, a.err = p.reserving.reserve(ctx, a.node, a.batch) })
	}
	wait.Wait()
	return answers
}

// nodes is a view of all nodes, fetched at most viewAge ago and shared by all placements. One in which none takes work is
// looked at again for as long as visibility may lag: a node that has just joined is not refused what it has room for.
func (p *Placement) nodes(ctx context.Context) ([]placement.Node, error) {
	asked := time.Now()
	p.fetching.Lock()
	defer p.fetching.Unlock()
	if p.viewedAt.After(asked) || slices.ContainsFunc(p.view, placement.Node.Ready) && time.Since(p.viewedAt) < viewAge {
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
		if slices.ContainsFunc(nodes, placement.Node.Ready) {
			return nodes, nil
		}
		select {
		case <-tick.C:
		case <-limited.Done():
			return nodes, ctx.Err()
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
	get(api.SearchState.GetName(), &n.State)
	get(api.SearchStacks.GetName(), &n.Stacks)
	get(api.SearchFreeMemory.GetName(), &n.Free.MemoryMB)
	get(api.SearchFreeDisk.GetName(), &n.Free.DiskMB)
	return n
}
