package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/integration/internal/crowd"
	"github.com/durable-dea/dea/integration/internal/stack"
)

func newCrowd(t *testing.T, options stack.OwnOptions) *crowd.Crowd {
	t.Helper()
	return crowd.Start(t, stack.Options{}, options)
}

// TestFiftyAtOnce starts fifty instances of one droplet at once on one node.
func TestFiftyAtOnce(t *testing.T) {
	c := newCrowd(t, stack.OwnOptions{MemoryMB: 4096, DiskMB: 8192, Ports: 120})
	require.NoError(t, c.Want(t.Context(), "fifty", "v1", 50))
	c.Settles(t, map[string]int{"fifty": 50})
	assert.Equal(t, 1, c.Droplet.Fetched(), "one download, however many wait for it")
}

// TestDeathsWhileInstancesStartAndStop is the node's whole promise: whoever dies, whenever.
func TestDeathsWhileInstancesStartAndStop(t *testing.T) {
	c := newCrowd(t, stack.OwnOptions{MemoryMB: 4096, DiskMB: 8192, Ports: 120, OrphanReap: time.Second})
	c.Deaths(t, 50)
}
