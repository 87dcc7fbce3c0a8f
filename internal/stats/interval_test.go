package stats

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// TestInterval: whoever reads the numbers is told how often they are taken.
func TestInterval(t *testing.T) { require.Equal(t, api.StatsInterval, Interval) }
