package activities_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/registrar"
)

// hears calls itself with each line of a log before whoever logs goes on.
type hears func(line string)

func (h hears) Write(p []byte) (int, error) {
	h(string(p))
	return len(p), nil
}

// TestRoutesAreTakenBackBeforeAnInstanceStops: it is told nothing, and no hook runs, as long as NATS, which is away, may still take
// that.
func TestRoutesAreTakenBackBeforeAnInstanceStops(t *testing.T) {
	i := newInstanceTest(t, `trap 'echo TERM >> ../tmp/order; exit 0' TERM; echo up > ../tmp/up; while :; do sleep 0.02; done`)
	i.message.URIs = []string{"app.localhost"}
	i.message.HealthCheck = &api.HealthCheck{Type: api.CheckProcess}
	hook, order := filepath.Join(i.base, "hook"), filepath.Join(t.TempDir(), "order")
	require.NoError(t, os.WriteFile(hook, []byte("cat \"$HOME/../tmp/order\" >> "+order+"; echo hook >> "+order+"; exit 0"), 0o644))
	i.config.Hooks = map[string]string{"before_stop": hook}
	waited := false
	var err error
	i.routes, err = registrar.New(registrar.Options{
		NATS: registrar.NATS{Servers: []config.URL{"nats://127.0.0.1:1"}}, Interval: time.Hour,
		Log: hclog.New(&hclog.LoggerOptions{Output: hears(func(line string) {
			if !strings.Contains(line, "could not be taken back yet") {
				return
			}
			waited = true
			assert.NoFileExists(t, order)
			assert.NoFileExists(t, filepath.Join(i.home(t), "tmp", "order"))
		})}),
	})
	require.NoError(t, err)
	t.Cleanup(i.routes.Close)
	i.die(t) // for the next to have it
	created := i.create(t)
	require.NoError(t, i.launch(t, created))
	i.awaitFile(t, "tmp/up")
	i.retire(t, activities.RetireParams{Created: created, Graceful: true})
	require.True(t, waited)
	text, err := os.ReadFile(order)
	require.NoError(t, err)
	require.Equal(t, "hook\n", string(text), "before the app is told to end")
}
