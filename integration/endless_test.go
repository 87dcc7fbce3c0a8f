package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// TestEndlessBuildpack has a buildpack never end where a staging may take some seconds: it is ended, be it that it stops
// the runner, which keeps the time, first.
func TestEndlessBuildpack(t *testing.T) {
	t.Parallel()
	const seconds, rate, burst = 3, 1_000_000, 2_000_000
	f := newField(t, 2, stack.OwnOptions{Staging: map[string]any{
		"max_staging_duration": seconds, "bandwidth_limit": map[string]any{"rate": rate, "burst": burst},
	}})
	t.Run("all", func(t *testing.T) {
		for name, environment := range map[string][]string{"compile": nil, "compile, the runner stopped": {"STOP_RUNNER=yes"}} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				node := f.take(t)
				app := "endless-" + uuid.NewString()
				require.NoError(t, f.Upload(t.Context(), app, zipOf(t, file("run", "true"))))
				request, err := f.StagingRequestOn(t.Context(), app, stack.OwnStackOf(node.Number))
				require.NoError(t, err)
				request.AdminBuildpacks = []api.AdminBuildpack{offer(t, "endless")}
				request.Properties.Environment = environment
				staging, err := f.Control.Stage(t.Context(), request)
				require.NoError(t, err)
				begun := "-----> Endless, for " + strconv.Itoa(seconds) + " s\n"
				eventually(t, later, func() error {
					log, err := os.ReadFile(filepath.Join(node.Workspace(request.TaskID), "out", "staging.log"))
					if err == nil && !strings.Contains(string(log), begun) {
						err = fmt.Errorf("the log has no %q:\n%s", begun, log)
					}
					return err
				})
				hasBandwidth(t, filepath.Join(f.Data, "own", strconv.Itoa(node.Number), "warden.sock"), request.TaskID, rate, burst)

				ctx, cancel := context.WithTimeout(t.Context(), later)
				defer cancel()
				result, err := staging.Wait(ctx)
				require.ErrorIs(t, err, controller.ErrStagingFailed)
				require.NotNil(t, result.ErrorInfo)
				assert.Equal(t, api.ErrorInfo{Type: api.ErrStagingTimeExpired, Message: "Staging time expired"}, *result.ErrorInfo)
				told, err := f.Callback(t.Context(), app, request.TaskID)
				require.NoError(t, err)
				assert.Equal(t, result.ErrorInfo, told.ErrorInfo)
				eventually(t, soon, func() error { return node.InUse(t.Context()) })
			})
		}
	})
}

// hasBandwidth checks the limits that a staging's container has got of its wardend.
func hasBandwidth(t *testing.T, socket, task string, rate, burst uint64) {
	t.Helper()
	c := warden.NewClient(socket)
	defer func() { _ = c.Close() }()
	info, err := c.Info(t.Context(), &wardenpb.InfoRequest{Handle: proto.String(api.StagingHandle(task))})
	require.NoError(t, err)
	stat := info.GetBandwidthStat()
	assert.Equal(t, [4]uint64{rate, burst, rate, burst},
		[4]uint64{stat.GetInRate(), stat.GetInBurst(), stat.GetOutRate(), stat.GetOutBurst()})
}
