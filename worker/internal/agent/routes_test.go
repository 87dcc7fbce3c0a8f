package agent

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/supervisor"
)

// TestANodeWithoutNATSSaysSoOnce, and has no routes: neither instances' nor its file server's.
func TestANodeWithoutNATSSaysSoOnce(t *testing.T) {
	var log bytes.Buffer
	a := &agent{
		id: "n", node: &config.Node{Domain: "example.com", LocalRoute: "127.0.0.1"},
		log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace}),
	}
	require.NoError(t, a.openRoutes())
	defer a.registrar.Close()
	require.Empty(t, a.filesHost())
	a.routeFiles(&net.TCPAddr{Port: 1})
	one := supervisor.Instance{ID: "i", AppID: "app", Address: "127.0.0.1:1", URIs: []string{"x"}, Ready: true}
	a.registrar.Live(one)
	require.NoError(t, a.registrar.Withdraw(t.Context(), one))
	a.registrar.Gone(one)
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), "no routes are registered")
}
