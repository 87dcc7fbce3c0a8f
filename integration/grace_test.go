package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// grace is a node_grace that tests can wait for.
const grace = 5 * time.Second

// TestTemporalAwayForLongerThanTheGrace costs no instance and no reservation: the node is not lost, as its worker is there
// when Temporal is.
func TestTemporalAwayForLongerThanTheGrace(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, stack.OwnOptions{NodeGrace: grace})
	before := p.runs(t, 2)
	require.NoError(t, p.KillKeepingPorts(t.Context()))
	over := time.After(6 * grace)
	for waiting := true; waiting; {
		for _, instance := range before {
			require.NoError(t, serves(t.Context(), instance), "it serves while Temporal is away")
		}
		select {
		case <-over:
			waiting = false
		case <-time.After(time.Second):
		}
	}
	require.NoError(t, p.Restart(t.Context()))
	for _, node := range p.nodes {
		p.state(t, node, api.NodeReady)
	}
	// What is lost would be noticed by now, and replaced.
	time.Sleep(2 * grace)
	after := p.runs(t, 2)
	for n := range before {
		assert.Equal(t, before[n].InstanceID, after[n].InstanceID)
		require.NoError(t, serves(t.Context(), after[n]))
	}
	for _, node := range p.nodes {
		status, err := p.Control.Node(t.Context(), node.ID)
		require.NoError(t, err)
		assert.Len(t, status.Reservations, 1, "one instance each")
	}
}

// TestNodeWithoutAWorker keeps its instances until the grace is over; then they are replaced elsewhere, and what is left of
// them is taken away by its next worker.
func TestNodeWithoutAWorker(t *testing.T) {
	t.Parallel()
	const longer = 20 * time.Second
	p := newPair(t, 1, stack.OwnOptions{NodeGrace: longer, OrphanReap: time.Second})
	instance := p.runs(t, 1)[0]
	node, other := p.nodeOf(t, instance)
	require.NoError(t, node.KillWorker())
	p.state(t, node, api.NodeSuspect)
	time.Sleep(longer / 2)
	require.Equal(t, instance.InstanceID, p.runs(t, 1)[0].InstanceID, "the grace is not over")
	require.NoError(t, serves(t.Context(), instance))

	p.state(t, node, api.NodeStateLost)
	eventually(t, later, func() error {
		if now := p.runs(t, 1)[0]; now.Node != other.ID {
			return fmt.Errorf("instance %s is on node %s", now.InstanceID, now.Node)
		}
		return nil
	})
	ended, err := p.Control.Instance(t.Context(), instance.InstanceID)
	require.NoError(t, err)
	assert.Equal(t, api.ExitNodeLost, ended.Exit.Description)
	require.NoError(t, node.StartWorker(t.Context()))
	p.state(t, node, api.NodeReady)
	eventually(t, later, func() error { return node.InUse(t.Context()) })
	require.Error(t, serves(t.Context(), instance), "what is left of it does not serve any more")
}
