package supervisor_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/supervisor"
)

// TestRoutesThatComeBeforeTheInstanceIsLookedAfterAreNewer than those that are known of it by then.
func TestRoutesThatComeBeforeTheInstanceIsLookedAfterAreNewer(t *testing.T) {
	for name, linked := range map[string]bool{"its job is linked": true, "it is only looked for": false} {
		t.Run(name, func(t *testing.T) {
			n := newNodeTest(t)
			a := n.start(t, "i")
			n.die()
			if linked {
				n.temporal.goes(true)
			} else {
				n.server.Kill()
			}
			require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
			require.Equal(t, linked, n.supervisor.Watched("i") != nil)
			require.NoError(t, n.supervisor.Route("i", "v2", []string{"old.localhost"}))
			require.NoError(t, n.supervisor.Route("i", "", []string{"new.localhost"}))
			if linked {
				n.temporal.goes(false)
			} else {
				n.server.Start()
			}
			require.Eventually(t, func() bool { return len(n.supervisor.Instances()) == 1 }, patience, time.Millisecond)
			require.Equal(t, []string{"new.localhost"}, n.supervisor.Instances()[0].URIs)
			require.Equal(t, "v2", n.supervisor.Instances()[0].Version)
			require.NoError(t, n.supervisor.Route("i", "v3", []string{"newest.localhost"}))
			require.Equal(t, []string{"newest.localhost"}, n.supervisor.Instances()[0].URIs)
			require.Equal(t, "v3", n.supervisor.Instances()[0].Version)
		})
	}
}

func TestRoutesOfWhoIsNotKnownYet(t *testing.T) {
	n := newNodeTest(t)
	routes := []string{"a.localhost"}
	require.ErrorIs(t, n.supervisor.Route("i", "", routes), supervisor.ErrNotResumed, "it may be there")
	a := n.start(t, "i")
	require.NoError(t, n.supervisor.Route("i", "", routes), "it was started here")
	require.Equal(t, routes, n.supervisor.Instances()[0].URIs)
	n.die()
	require.ErrorIs(t, n.supervisor.Route("i", "", routes), supervisor.ErrNotResumed)
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	require.NoError(t, n.supervisor.Route("i", "", routes))
	require.Equal(t, routes, n.supervisor.Instances()[0].URIs)
	n.supervisor.Forget("i")
	require.NoError(t, n.supervisor.Route("i", "", routes), "it has ended")
}
