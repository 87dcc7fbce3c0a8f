package real

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/integration/internal/crowd"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// newCrowd starts a devserver with one node of the test's own, whose containers are real.
func newCrowd(t *testing.T, options stack.OwnOptions) *crowd.Crowd {
	t.Helper()
	dir, rootfs := realRoot(t)
	options.Rootfs = rootfs
	return crowd.Start(t, stack.Options{Data: filepath.Join(dir, "data")}, options)
}

// TestFiftyAtOnce starts fifty instances of one droplet at once on one node.
func TestFiftyAtOnce(t *testing.T) {
	c := newCrowd(t, stack.OwnOptions{MemoryMB: 4096, DiskMB: 8192, Ports: 120})
	require.NoError(t, c.Want(t.Context(), "fifty", "v1", 50))
	c.Settles(t, map[string]int{"fifty": 50})
	assert.Equal(t, 1, c.Droplet.Fetched(), "one download, however many wait for it")
	log, err := c.Node.WorkerLog()
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(log, "unpacked a droplet"), "one unpacking, however many run it")
	assert.NotContains(t, log, "droplets are unpacked in each container")
}

// TestDeathsWhileInstancesStartAndStop is the node's whole promise: whoever dies, whenever.
func TestDeathsWhileInstancesStartAndStop(t *testing.T) {
	c := newCrowd(t, stack.OwnOptions{
		MemoryMB: 4096, DiskMB: 8192, Ports: 120, Keys: map[string]any{"intervals": map[string]any{"orphan_reap": "1s"}},
	})
	c.Deaths(t, 50)
}
