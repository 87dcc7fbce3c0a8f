package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWorkersAreNotConfiguredForAnotherInstallation(t *testing.T) {
	t.Setenv("TEMPORAL_ADDRESS", "elsewhere.example:7233")
	t.Setenv("DEA_CC_URL", "http://elsewhere.example")
	t.Setenv("OTHER", "kept")
	environment := workerEnvironment()
	require.NotContains(t, environment, "TEMPORAL_ADDRESS=elsewhere.example:7233")
	require.NotContains(t, environment, "DEA_CC_URL=http://elsewhere.example")
	require.Contains(t, environment, "OTHER=kept")
}
