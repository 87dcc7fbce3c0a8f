package integration

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// TestCancelDuringStaging cancels a staging at each of its steps. It ends as one that was stopped, the cloud controller is
// told, and nothing of it is left anywhere.
func TestCancelDuringStaging(t *testing.T) {
	t.Parallel()
	f := newField(t, 6, stack.OwnOptions{})
	t.Run("all", func(t *testing.T) { // ends when all that is in it has
		for _, s := range steps() {
			f.cancels(t, s)
		}
		f.cancelsTooLate(t)
		f.leavesBuildpack(t)
	})
	// A cloud controller that has half of a droplet throws it away when the other half does not come.
	eventually(t, soon, f.UploadsByHalf)
	eventually(t, soon, func() error { return f.InUse(t.Context()) })
}

func (f *field) cancels(t *testing.T, s step) {
	t.Helper()
	t.Run(s.name, func(t *testing.T) {
		t.Parallel()
		r := newTrial(t, f.gate, f.Stack, f.take(t))
		s.shape(t, r)
		// What goes on while it is being cancelled comes to an end here at the latest.
		r.stop(before, http.MethodPost, "/staging/buildpack_cache/"+r.app+"/upload")
		r.begin(t)
		s.reach(t, r)
		require.NoError(t, r.staging.Cancel(t.Context()))
		r.isStopped(t)
		// Nothing was let go: what has to end, ends all the same.
		r.leavesNothing(t)
		r.open(t)
	})
}

// cancelsTooLate cancels a staging of which the cloud controller is being told: it is what it would have been.
func (f *field) cancelsTooLate(t *testing.T) {
	t.Helper()
	t.Run("reporting", func(t *testing.T) {
		t.Parallel()
		r := newTrial(t, f.gate, f.Stack, f.take(t))
		told := r.stop(before, http.MethodPost, r.callbackPath())
		r.begin(t)
		r.awaitHold(t, told)
		require.NoError(t, r.staging.Cancel(t.Context()))
		r.open(t)
		result := r.succeeds(t)
		assert.Empty(t, result.Error)
		r.leavesNothing(t)
	})
}

// leavesBuildpack cancels a staging with half of its buildpack there, which the next one that wants it does not fetch again.
func (f *field) leavesBuildpack(t *testing.T) {
	t.Helper()
	t.Run("buildpack for the next", func(t *testing.T) {
		t.Parallel()
		s := stepsNamed("fetching a buildpack")[0]
		r := newTrial(t, f.gate, f.Stack, f.take(t))
		s.shape(t, r)
		r.begin(t)
		s.reach(t, r)
		require.NoError(t, r.staging.Cancel(t.Context()))
		r.isStopped(t)
		r.leavesNothing(t)
		r.open(t)

		next := newTrial(t, f.gate, f.Stack, r.node)
		next.prepare(t)
		next.pack, next.dir = r.pack, r.dir
		next.request.AdminBuildpacks = r.request.AdminBuildpacks
		var err error
		next.staging, err = f.Control.Stage(t.Context(), next.request)
		require.NoError(t, err)
		next.succeeds(t)
		s.check(t, next)
		assert.Len(t, f.gate.came(http.MethodGet, packPath(r.pack)), 2)
		next.leavesNothing(t)
	})
}

// isStopped checks the end of a staging that was cancelled.
func (r *trial) isStopped(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	result, err := r.staging.Wait(ctx)
	require.ErrorIs(t, err, controller.ErrStagingFailed)
	want := api.ErrorInfo{Type: api.ErrStaging, Message: api.StagingTaskStopped}
	require.NotNil(t, result.ErrorInfo)
	assert.Equal(t, want, *result.ErrorInfo)
	told, err := r.stack.Callback(t.Context(), r.app, r.request.TaskID)
	require.NoError(t, err)
	assert.Equal(t, result, told)
}
