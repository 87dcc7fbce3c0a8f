package stats

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// TestInterval: whoever reads the numbers is told how often they are taken, and operators know it: container metrics each 15 s.
func TestInterval(t *testing.T) {
	require.Equal(t, api.StatsInterval, Interval)
	require.Equal(t, 15*time.Second, Interval)
}
