package integration

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/crowd"
	"github.com/durable-dea/dea/integration/internal/load"
)

// TestNoRequestFailsWhileInstancesComeAndGo asks an app by its route, without a pause, while its instances change.
func TestNoRequestFailsWhileInstancesComeAndGo(t *testing.T) {
	const app = "churned"
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	stackName, err := shared.StackName(ctx)
	require.NoError(t, err)
	droplet := crowd.NewDroplet(t, "here")
	spec := api.AppSpec{Instances: 1, Message: droplet.Message(app, uuid.NewString(), stackName)}
	_, err = shared.Control.Run(ctx, spec)
	require.NoError(t, err)
	defer remove(t, shared, app)
	_, err = load.Settled(ctx, shared.Control, spec)
	require.NoError(t, err)

	router, err := url.Parse(shared.Router)
	require.NoError(t, err)
	host, address := spec.Message.URIs[0], "127.0.0.1:"+router.Port()
	// One is RUNNING before its route is everywhere.
	eventually(t, soon, func() error { return load.Ask(ctx, host, address) })
	requests := load.Start(ctx, load.Options{Host: host, Addresses: []string{address}, Rate: 200})
	err = load.Churn(ctx, shared.Control, spec, 1, 4)
	result := requests.Stop()
	require.NoError(t, err)
	require.NoError(t, result.Err())
	assert.Greater(t, result.Sent, 100)
	t.Logf("%d requests, of which the slowest of a hundred took %s", result.Sent, result.Percentile(99))
}
