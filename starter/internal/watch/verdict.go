package watch

import (
	"fmt"

	"github.com/durable-dea/dea/api"
)

// crashes is how many crashes in a row of one index make an app fail: as many restarts as the platform makes at once.
const crashes = 3

// verdict is what one look at an app says.
type verdict struct {
	// done: all wanted instances run.
	done bool
	// failed: it will not come by itself. instance is the one that crashed, nil where none could be started.
	failed   bool
	instance *api.InstanceStatus
	words    string
}

// tracker remembers, from look to look, the instances that did not run yet and how often each index crashed.
type tracker struct {
	version  string
	starting map[string]api.InstanceStatus
	crashed  map[int]int
	reported map[string]bool
}

func newTracker(version string) *tracker {
	return &tracker{
		version: version, starting: map[string]api.InstanceStatus{}, crashed: map[int]int{}, reported: map[string]bool{},
	}
}

// vanished tells which instances that had not run are no longer among an app's: they crashed and were replaced
// between two looks.
func (t *tracker) vanished(app api.AppStatus) []api.InstanceStatus {
	present := make(map[string]bool, len(app.Instances))
	for _, i := range app.Instances {
		present[i.InstanceID] = true
	}
	var gone []api.InstanceStatus
	for id, i := range t.starting {
		if !present[id] {
			gone = append(gone, i)
			delete(t.starting, id)
		}
	}
	return gone
}

// look takes an app's status in.
func (t *tracker) look(app api.AppStatus) verdict {
	if t.version != "" && app.Version != t.version {
		return verdict{failed: true, words: "another push replaced this one"}
	}
	for _, i := range app.Instances {
		switch {
		case i.Version != app.Version:
		case i.State == api.StateRunning:
			delete(t.starting, i.InstanceID)
		case i.State == api.StateCrashed:
			if v := t.crash(i); v.failed || app.RetryAt != nil {
				v.failed, v.instance = true, &i
				return v
			}
		case !i.State.Ended():
			t.starting[i.InstanceID] = i
		}
	}
	return verdict{done: app.Running >= app.Desired}
}

// crash counts a crash once and says whether it is one that another start does not mend.
func (t *tracker) crash(i api.InstanceStatus) verdict {
	v := verdict{instance: &i, words: crashWords(i)}
	delete(t.starting, i.InstanceID)
	if !t.reported[i.InstanceID] {
		t.reported[i.InstanceID] = true
		t.crashed[i.Index]++
	}
	v.failed = t.crashed[i.Index] >= crashes
	if i.Exit != nil {
		switch i.Exit.Description {
		case api.ExitHealthCheck, api.ExitMissingCommand:
			v.failed = true
		}
	}
	return v
}

func crashWords(i api.InstanceStatus) string {
	words := fmt.Sprintf("instance %d crashed", i.Index)
	if i.Exit == nil {
		return words
	}
	words += ": " + i.Exit.Description
	if i.Exit.Status >= 0 {
		words += fmt.Sprintf(" (exit status %d)", i.Exit.Status)
	}
	return words
}
