package routing

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHostsAreWrittenSoThatAPortCanFollow(t *testing.T) {
	for host, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "node-0.example.com": "node-0.example.com", "2001:db8::1": "[2001:db8::1]", "[::1]": "[::1]", "": "",
	} {
		require.Equal(t, want, Host(host))
	}
}

func TestURIsThatAreTheSameToARouter(t *testing.T) {
	for uri, want := range map[string]string{
		"app.example.com": "app.example.com", "App.EXAMPLE.com/V1/": "app.example.com/v1", "*.Example.com": "*.example.com",
		"app.example.com/a?b=C": "app.example.com/a", "": "",
	} {
		require.Equal(t, want, Key(uri))
	}
}

func TestTimesThatARouterSays(t *testing.T) {
	start := RouterStart{MinimumRegisterIntervalInSeconds: 20, PruneThresholdInSeconds: 120}
	require.Equal(t, 20*time.Second, start.Interval())
	require.Equal(t, 2*time.Minute, start.PruneThreshold())
	odd := RouterStart{MinimumRegisterIntervalInSeconds: -1, PruneThresholdInSeconds: math.MaxInt}
	require.Zero(t, odd.Interval())
	require.Positive(t, odd.PruneThreshold(), "no overflow")
}
