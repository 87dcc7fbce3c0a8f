package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/durable-dea/dea/api"
)

// Nodes lists every node, by id. One that joined within the last 2 seconds may be missing. Where some could not be
// asked, the others are returned with the error.
func (c *Client) Nodes(ctx context.Context) ([]api.NodeStatus, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	nodes, err := askAll(limited, c, api.WorkflowNode, api.QueryNode)
	slices.SortFunc(nodes, func(a, b api.NodeStatus) int { return strings.Compare(a.Node, b.Node) })
	return nodes, explain(ctx, err, subject{ErrNoSuchNode, "list of", "nodes", ""})
}

// NoReadyNode says, for the user, why nothing can be placed anywhere, and what to do: no node is ready. Both are empty
// where one is, or where that cannot be found out soon.
func (c *Client) NoReadyNode(ctx context.Context) (words, next string) {
	limited, cancel := context.WithTimeout(ctx, detailTimeout)
	defer cancel()
	nodes, err := c.Nodes(limited)
	if err != nil {
		return "", ""
	}
	return noReadyNode(nodes)
}

func noReadyNode(nodes []api.NodeStatus) (words, next string) {
	if len(nodes) == 0 {
		return "no node has joined the platform", "start a worker, then try again"
	}
	counts := map[api.NodeState]int{}
	for _, n := range nodes {
		counts[n.State]++
	}
	if counts[api.NodeReady] > 0 {
		return "", ""
	}
	var states []string
	for _, state := range []api.NodeState{api.NodeDraining, api.NodeSuspect, api.NodeStateLost} {
		if counts[state] > 0 {
			states = append(states, fmt.Sprintf("%d %s", counts[state], strings.ToLower(string(state))))
		}
	}
	next = "start the nodes' workers (`starter nodes` shows them)"
	if counts[api.NodeDraining] > 0 {
		next = "`starter undrain NODE` lets work on a node again (`starter nodes` shows them)"
	}
	return "no node takes new work (" + strings.Join(states, ", ") + ")", next
}

// Node tells a node's state and what is booked on it. Fails with ErrNoSuchNode.
func (c *Client) Node(ctx context.Context, node string) (api.NodeStatus, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	status, err := ask(limited, c, api.QueryNode, api.NodeWorkflowID(node))
	return status, explain(ctx, err, nodeSubject(node))
}

// Drain keeps new work off a node; what it has stays. Draining a draining node changes nothing. Fails with
// ErrNoSuchNode.
func (c *Client) Drain(ctx context.Context, node string) (api.NodeStatus, error) {
	return updateNode(ctx, c, api.UpdateDrain, node, api.DrainRequest{Draining: true})
}

// Undrain lets new work on a node again. Fails with ErrNoSuchNode.
func (c *Client) Undrain(ctx context.Context, node string) (api.NodeStatus, error) {
	return updateNode(ctx, c, api.UpdateDrain, node, api.DrainRequest{Draining: false})
}

// Evacuate keeps new work off a node and has its instances replaced elsewhere: each runs on until its replacement does, or
// until the node's own patience ends. It returns as soon as that is recorded; Node tells how far it has come. The node's next
// worker takes work again. reason is for the operator, in the history. Fails with ErrNoSuchNode.
func (c *Client) Evacuate(ctx context.Context, node, reason string) (api.NodeStatus, error) {
	return updateNode(ctx, c, api.UpdateEvacuate, node, api.EvacuateRequest{Reason: reason})
}

// Forget ends the workflow of a node that is LOST, so that it is listed no more. A worker of the node that comes all the
// same has it join anew. reason is for the operator, in the history. Fails with ErrNoSuchNode, and with ErrInvalid when the node
// is not LOST.
func (c *Client) Forget(ctx context.Context, node, reason string) (api.NodeStatus, error) {
	return updateNode(ctx, c, api.UpdateForget, node, api.ForgetRequest{Reason: reason})
}

// updateNode sends an update to a node's workflow and waits for its answer.
func updateNode[In any](
	ctx context.Context, c *Client, update api.Update[In, api.NodeStatus], node string, in In,
) (api.NodeStatus, error) {
	limited, cancel := c.call(ctx)
	defer cancel()
	id := uuid.NewString()
	status, err := retry(limited, func() (api.NodeStatus, error) {
		return update.Call(limited, c.temporal, api.NodeWorkflowID(node), id, in)
	})
	return status, explain(ctx, err, nodeSubject(node))
}
