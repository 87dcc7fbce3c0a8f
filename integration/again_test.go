package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// TestStagingsOfOneApp asks for an app to be staged that is being staged.
func TestStagingsOfOneApp(t *testing.T) {
	t.Parallel()
	f := newField(t, 1, stack.OwnOptions{MemoryMB: 1500, DiskMB: 8192})
	node := f.nodes[0]
	ready(t, node)
	t.Run("the same task twice is one staging", func(t *testing.T) {
		r := newTrial(t, f.gate, f.Stack, node)
		r.hold(t, "compile")
		r.begin(t)
		again, err := f.Control.Stage(t.Context(), r.request)
		require.NoError(t, err)
		r.awaitRun(t, "compile")
		third, err := f.Control.Stage(t.Context(), r.request)
		require.NoError(t, err)
		r.open(t)
		result := r.succeeds(t)
		for _, same := range []*controller.Staging{again, third} {
			other, err := same.Wait(t.Context())
			require.NoError(t, err)
			assert.Equal(t, result, other)
		}
		r.leavesNothing(t)
	})
	t.Run("a second staging takes the place of the first", func(t *testing.T) {
		first, second := newTrial(t, f.gate, f.Stack, node), newTrial(t, f.gate, f.Stack, node)
		first.hold(t, "compile")
		second.app = first.app
		first.prepare(t)
		second.prepare(t)
		var err error
		first.staging, err = f.Control.Stage(t.Context(), first.request)
		require.NoError(t, err)
		second.staging, err = f.Control.Stage(t.Context(), second.request)
		require.NoError(t, err)
		first.isStopped(t)
		result, err := second.wait(t)
		require.NoError(t, err)
		second.checkDroplet(t, result.DropletSHA1)
		told, err := f.Callback(t.Context(), second.app, second.request.TaskID)
		require.NoError(t, err)
		assert.Equal(t, result, told)
		second.leavesNothing(t)
	})
}
