package activities

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/placement"
)

const (
	// strayPatience is how long a placement that is tried again looks for what it has booked before. Nodes that it does not
	// get to are left to their supervisors.
	strayPatience = 5 * time.Second
	// straysAsked is how many nodes are asked at a time: each query is a task for a worker.
	straysAsked = 16
)

// strays are bookings of a placement that was tried before, by node: it died, or was given up, before it could say where
// they are.
type strays map[string][]api.Reservation

// strays asks all nodes what an earlier attempt has booked there. That attempt has ended, or is no longer heeded: what is
// found is its own, with the ids of its updates, whatever is booked from now on.
func (p *Placement) strays(ctx context.Context, params PlaceParams, nodes []placement.Node) strays {
	ctx, cancel := context.WithTimeout(ctx, strayPatience)
	defer cancel()
	found := strays{}
	var unasked []error
	var mu sync.Mutex
	var asking errgroup.Group
	asking.SetLimit(straysAsked)
	for _, node := range nodes {
		asking.Go(func() error {
			ledger, err := api.QueryNode.Ask(ctx, p.temporal, api.NodeWorkflowID(node.ID))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				unasked = append(unasked, err)
			}
			for _, booked := range ledger.Reservations {
				if slices.ContainsFunc(params.Reservations, booked.Same) {
					found[node.ID] = append(found[node.ID], booked)
				}
			}
			return nil
		})
	}
	_ = asking.Wait() // none fails
	if len(unasked) > 0 {
		p.log.Warn("what an earlier attempt may have booked is left to the supervisors of some nodes", "nodes", len(unasked), "first", unasked[0])
	}
	return found
}

// again deals out the open reservations that are booked already at a node that may be chosen: no other has to be asked, and
// what is booked counts in what the node has free.
func (r *round) again(booked strays) map[string][]api.Reservation {
	batches := map[string][]api.Reservation{}
	for _, reservation := range r.open {
		for _, node := range r.nodes {
			if slices.ContainsFunc(booked[node.ID], reservation.Same) {
				batches[node.ID] = append(batches[node.ID], reservation)
				r.spread.Add(node.ID, 1)
				break
			}
		}
	}
	return batches
}

// giveBack releases what was booked before at other nodes than those of the result.
func (p *Placement) giveBack(ctx context.Context, booked strays, result PlaceResult) {
	for node, reservations := range booked {
		for _, reservation := range reservations {
			if result.Placed[reservation.ID].Node == node {
				continue
			}
			for _, release := range reservation.Releases() {
				p.reserving.release(ctx, node, release)
			}
		}
	}
}
