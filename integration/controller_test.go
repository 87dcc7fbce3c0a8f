package integration

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// TestControllerAtFault stages at a cloud controller that fails at every question, in every way that a restart has: the
// staging does not notice, and its outcome is told until somebody has taken it.
func TestControllerAtFault(t *testing.T) {
	t.Parallel()
	f := newField(t, 1, stack.OwnOptions{MemoryMB: 4096, DiskMB: 8192})
	ready(t, f.nodes[0])
	r := newTrial(t, f.gate, f.Stack, f.nodes[0])
	gone := []int{http.StatusServiceUnavailable, 0, http.StatusBadGateway}
	// An activity is tried six times in all: two transfers in one leave room for four faults.
	r.fail(http.MethodGet, "/staging/apps/"+r.app, gone[:2])
	r.fail(http.MethodGet, packPath(r.pack), gone[1:])
	r.fail(http.MethodPost, "/staging/droplets/"+r.app, []int{http.StatusInternalServerError, 0})
	r.fail(http.MethodGet, "/jobs/"+r.app, append(gone, gone...))
	r.fail(http.MethodPost, "/staging/buildpack_cache/"+r.app, []int{http.StatusInternalServerError})
	refusals := []int{http.StatusNotFound, http.StatusInternalServerError, 0, http.StatusNotFound, http.StatusServiceUnavailable}
	r.fail(http.MethodPost, r.callbackPath(), refusals)
	r.begin(t)
	result := r.succeeds(t)
	told := f.gate.came(http.MethodPost, r.callbackPath())
	require.Len(t, told, len(refusals)+1)
	for _, one := range told {
		var said api.StagingResult
		require.NoError(t, json.Unmarshal(one.body, &said))
		assert.Equal(t, result.DropletSHA1, said.DropletSHA1)
		assert.Equal(t, r.request.TaskID, said.TaskID)
	}
	r.leavesNothing(t)
}

// fail makes requests of this staging fail, one after another.
func (r *trial) fail(method, prefix string, faults []int) {
	h := r.gate.hold(faulty, method, prefix)
	h.faults = append(h.faults, faults...)
	r.holds = append(r.holds, h)
}
