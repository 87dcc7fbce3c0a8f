package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// TestTransitions has every pair of states: what may follow is what the drawing at InstanceState says, and nothing else.
func TestTransitions(t *testing.T) {
	const allowed, refused = true, false
	states := []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateRunning, api.StateResuming, api.StateEvacuating,
		api.StateStopping, api.StateStopped, api.StateCrashed, api.StateDeleted,
	}
	table := map[api.InstanceState][]bool{
		// to                  BORN     STARTING RUNNING  RESUMING EVACUATING STOPPING STOPPED  CRASHED  DELETED
		api.StateBorn:       {refused, allowed, refused, refused, refused, allowed, refused, allowed, refused},
		api.StateStarting:   {refused, refused, allowed, allowed, refused, allowed, refused, allowed, refused},
		api.StateRunning:    {refused, refused, refused, allowed, allowed, allowed, refused, allowed, refused},
		api.StateResuming:   {refused, refused, allowed, refused, allowed, allowed, refused, allowed, refused},
		api.StateEvacuating: {refused, refused, allowed, allowed, refused, allowed, refused, allowed, refused},
		api.StateStopping:   {refused, refused, refused, refused, refused, refused, allowed, allowed, refused},
		api.StateStopped:    {refused, refused, refused, refused, refused, refused, refused, refused, allowed},
		api.StateCrashed:    {refused, refused, refused, refused, refused, refused, refused, refused, allowed},
		api.StateDeleted:    {refused, refused, refused, refused, refused, refused, refused, refused, refused},
	}
	require.Len(t, table, len(states))
	for _, from := range states {
		require.Len(t, table[from], len(states))
		for n, to := range states {
			require.Equal(t, table[from][n], from.CanBecome(to), "%s to %s", from, to)
		}
	}
	require.False(t, api.InstanceState("").CanBecome(api.StateBorn))
	require.False(t, api.StateBorn.CanBecome("ELSEWHERE"))
}

func TestEveryStateIsAliveOrEnded(t *testing.T) {
	for _, s := range []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateRunning, api.StateResuming, api.StateEvacuating, api.StateStopping,
	} {
		require.True(t, s.Alive() && !s.Ended(), s)
	}
	for _, s := range []api.InstanceState{api.StateStopped, api.StateCrashed, api.StateDeleted} {
		require.True(t, s.Ended() && !s.Alive(), s)
	}
}
