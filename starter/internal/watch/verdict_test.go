package watch

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

func instance(id string, index int, state api.InstanceState, exit ...string) api.InstanceStatus {
	i := api.InstanceStatus{InstanceID: id, Index: index, Version: "v1", State: state}
	if len(exit) > 0 {
		i.Exit = &api.InstanceExit{Status: 3, Description: exit[0]}
	}
	return i
}

func app(running, desired int, instances ...api.InstanceStatus) api.AppStatus {
	return api.AppStatus{AppID: "a", Version: "v1", Running: running, Desired: desired, Instances: instances}
}

func TestVerdict(t *testing.T) {
	later := time.Now().Add(time.Minute)
	backingOff := app(0, 1, instance("x", 0, api.StateCrashed, api.ExitAppExited))
	backingOff.RetryAt = &later
	old := app(0, 1, instance("x", 0, api.StateCrashed, api.ExitAppExited))
	old.Instances[0].Version = "v0"
	for name, test := range map[string]struct {
		app    api.AppStatus
		done   bool
		failed string
	}{
		"all run":                  {app: app(2, 2, instance("x", 0, api.StateRunning), instance("y", 1, api.StateRunning)), done: true},
		"none are wanted":          {app: app(0, 0), done: true},
		"one starts":               {app: app(1, 2, instance("x", 0, api.StateRunning), instance("y", 1, api.StateStarting))},
		"a crash, started again":   {app: app(0, 1, instance("x", 0, api.StateCrashed, api.ExitAppExited))},
		"a crash, not at once":     {app: backingOff, failed: "instance 0 crashed: app instance exited (exit status 3)"},
		"never listened":           {app: app(0, 1, instance("x", 0, api.StateCrashed, api.ExitHealthCheck)), failed: "instance 0 crashed: " + api.ExitHealthCheck},
		"no command":               {app: app(0, 1, instance("x", 0, api.StateCrashed, api.ExitMissingCommand)), failed: "instance 0 crashed: " + api.ExitMissingCommand},
		"an older version's crash": {app: old},
	} {
		t.Run(name, func(t *testing.T) {
			v := newTracker("v1").look(test.app)
			require.Equal(t, test.done, v.done)
			require.Equal(t, test.failed != "", v.failed)
			if v.failed {
				require.Contains(t, v.words, test.failed)
				require.NotNil(t, v.instance)
			}
		})
	}
}

func TestAnotherPushWins(t *testing.T) {
	s := app(1, 1)
	s.Version = "v2"
	require.True(t, newTracker("v1").look(s).failed)
	require.False(t, newTracker("").look(s).failed)
}

func TestAnIndexThatKeepsCrashingFails(t *testing.T) {
	tr := newTracker("v1")
	for n, id := range []string{"a", "b", "c"} {
		crashed := app(0, 1, instance(id, 0, api.StateCrashed, api.ExitAppExited))
		require.Equal(t, n == 2, tr.look(crashed).failed)
		require.Equal(t, n == 2, tr.look(crashed).failed, "one crash seen twice is one crash")
	}
}

func TestInstancesThatVanishBetweenTwoLooks(t *testing.T) {
	tr := newTracker("v1")
	tr.look(app(0, 2, instance("a", 0, api.StateStarting), instance("b", 1, api.StateStarting)))
	next := app(1, 2, instance("b", 1, api.StateRunning), instance("c", 0, api.StateStarting))
	gone := tr.vanished(next)
	require.Len(t, gone, 1)
	require.Equal(t, "a", gone[0].InstanceID)
	require.Empty(t, tr.vanished(next), "told once")
	tr.look(next)
	require.Empty(t, tr.vanished(app(1, 1, instance("c", 0, api.StateStarting))), "b ran: its end is no failed start")
}

func TestSummary(t *testing.T) {
	s := app(1, 3, instance("a", 0, api.StateRunning), instance("b", 1, api.StateStarting), instance("c", 2, api.StateCrashed))
	s.Problem = "Not enough memory resource available."
	require.Equal(t, "1 of 3 instances of a run (1 starting, 1 crashed): Not enough memory resource available.", summary(s))
}
