package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

func TestRestartPause(t *testing.T) {
	want := []time.Duration{
		0, 0, 0, 0, // never crashed, then three restarts at once
		30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 16 * time.Minute,
	}
	for count, pause := range want {
		require.Equal(t, pause, restartPause(count), "after %d crashes", count)
	}
	require.Equal(t, 16*time.Minute, restartPause(1_000_000))
}

func TestFiveMinutesOfRunningClearTheCount(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	before := api.CrashCount{Count: 5}
	require.Equal(t, 6, crashed(before, api.InstanceStatus{}, provenAfter-time.Second, now).Count)
	after := crashed(before, api.InstanceStatus{}, provenAfter, now)
	require.Equal(t, 1, after.Count)
	require.True(t, after.RetryAt.IsZero())
	require.Equal(t, now.Add(2*time.Minute), crashed(before, api.InstanceStatus{}, 0, now).RetryAt)
}

// members of one index, told apart by letters: upper case is the wanted version, "*" behind it is RUNNING.
func TestSurplusAndMissing(t *testing.T) {
	for _, c := range []struct {
		name    string
		desired int
		index0  []string
		stop    []string
		missing []int
	}{
		{"nothing there", 2, nil, nil, []int{0, 1}},
		{"one runs", 1, []string{"A*"}, nil, nil},
		{"one starts", 1, []string{"A"}, nil, nil},
		{"old runs, new is missing", 1, []string{"a*"}, nil, []int{0}},
		{"old runs, new starts", 1, []string{"a*", "B"}, nil, nil},
		{"old runs, new runs", 1, []string{"a*", "B*"}, []string{"a*"}, nil},
		{"doubles: the one that runs stays", 1, []string{"A", "B*"}, []string{"A"}, nil},
		{"doubles: the older stays", 1, []string{"A*", "B*"}, []string{"B*"}, nil},
		{"stopped app", 0, []string{"A*", "b*"}, []string{"A*", "b*"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := api.AppSpec{Message: api.StartMessage{AppID: "app", Version: "new"}, Instances: c.desired}
			a := newApp(api.AppInput{AppID: "app", Spec: &spec})
			for age, id := range c.index0 {
				status := api.InstanceStatus{InstanceID: id, Version: "new", State: api.StateStarting, Since: time.Unix(int64(age), 0)}
				if id[0] >= 'a' {
					status.Version = "old"
				}
				if id[len(id)-1] == '*' {
					status.State = api.StateRunning
				}
				a.instances[id] = &member{status: status}
			}
			var stop []string
			for _, m := range a.surplus() {
				stop = append(stop, m.status.InstanceID)
			}
			require.Equal(t, c.stop, stop)
			require.Equal(t, c.missing, a.missing(time.Unix(100, 0)))
		})
	}
}

func TestRefusedPlacementsWaitLonger(t *testing.T) {
	spec := api.AppSpec{Instances: 1}
	a := newApp(api.AppInput{Spec: &spec})
	now := time.Unix(0, 0)
	var pauses []time.Duration
	for range 8 {
		a.refused("no room", now)
		pauses = append(pauses, a.notBefore.Sub(now))
		require.Empty(t, a.missing(now))
		require.Equal(t, a.notBefore, a.due(now))
	}
	require.Equal(t, []time.Duration{
		time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second,
		30 * time.Second, 30 * time.Second, 30 * time.Second,
	}, pauses)
}

func TestAnAppSurvivesItsContinuation(t *testing.T) {
	spec := api.AppSpec{Message: api.StartMessage{AppID: "app", Version: "v"}, Instances: 2}
	a := newApp(api.AppInput{AppID: "app", Spec: &spec})
	a.instances["x"] = &member{status: api.InstanceStatus{InstanceID: "x", Version: "v", State: api.StateRunning}}
	a.instances["y"] = &member{status: api.InstanceStatus{InstanceID: "y", Version: "v", Index: 1, State: api.StateRunning}, stopping: true}
	a.crashes[1] = api.CrashCount{Count: 4, RetryAt: time.Unix(50, 0)}
	b := newApp(a.next())
	require.Equal(t, a.status(time.Unix(0, 0)), b.status(time.Unix(0, 0)))
	require.True(t, b.instances["y"].stopping)
	require.Equal(t, a.crashes, b.crashes)
}
