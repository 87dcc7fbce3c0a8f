package registrartest

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/routing"
)

// TestANodeGoesOnByAnotherServerOfItsCluster, also by one that it was not told of, with the same password.
func TestANodeGoesOnByAnotherServerOfItsCluster(t *testing.T) {
	first := startMember(t, nil)
	second := startMember(t, first)
	router := startRouter(t, second, nil)
	probe, err := nats.Connect(first.url())
	require.NoError(t, err)
	defer probe.Close()
	require.Eventually(t, func() bool { return len(probe.DiscoveredServers()) > 0 }, patience, time.Millisecond)
	// What the router subscribed to last goes from one server to the other: so does the rest.
	require.Eventually(t, func() bool {
		router.mu.Lock()
		defer router.mu.Unlock()
		return router.asks > 0 || probe.Publish(routing.SubjectGreet, []byte("{}")) != nil
	}, patience, time.Millisecond)
	r := newRegistrar(t, first)
	r.Live(instance("stays", "x"))
	r.Live(instance("goes", "x"))
	router.hears("register stays x", "register goes x")
	first.stop()
	r.Gone(instance("goes", "x"))
	r.Live(instance("comes", "y"))
	router.hears("register stays x", "unregister goes x", "register comes y")
}

// startMember starts a server of a cluster, which another one is in already.
func startMember(t *testing.T, other *bus) *bus {
	t.Helper()
	b := &bus{t: t, options: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, Username: "dea", Password: "hunter2", NoSigs: true, NoLog: true,
		Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT},
	}}
	if other != nil {
		b.options.Routes = server.RoutesFromStr("nats://" + other.server.ClusterAddr().String())
	}
	b.start()
	b.options.Port = b.server.Addr().(*net.TCPAddr).Port
	t.Cleanup(b.stop)
	return b
}
