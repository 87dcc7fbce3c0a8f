package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/syncbuffer"
)

// following is what a follower has told so far.
type following struct {
	mu   sync.Mutex
	told []controller.Change
	err  error
	over chan struct{}
}

// follow follows an app, or one instance of it, until it is gone or the test is over.
func follow(t *testing.T, c *controller.Client, app, instance string) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &following{over: make(chan struct{})}
	changes := c.Follow(ctx, app)
	if instance != "" {
		changes = c.FollowInstance(ctx, instance)
	}
	go func() {
		defer close(f.over)
		for status, err := range changes {
			f.mu.Lock()
			if f.err = err; err == nil {
				f.told = append(f.told, status)
			}
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-f.over
	})
	return f
}

// lives are what was told of each instance, by its id.
func (f *following) lives() map[string][]controller.Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	lives := map[string][]controller.Change{}
	for _, status := range f.told {
		lives[status.InstanceID] = append(lives[status.InstanceID], status)
	}
	return lives
}

// failed is what the follower has failed of.
func (f *following) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// at fails unless exactly so many instances were last told of in a state.
func (f *following) at(state api.InstanceState, wanted int) error {
	number := 0
	for _, life := range f.lives() {
		if life[len(life)-1].State == state {
			number++
		}
	}
	if number != wanted {
		return errors.Join(fmt.Errorf("%d instances were told to be %s, not %d", number, state, wanted), f.failed())
	}
	return nil
}

// ends checks that a follower has come to its end by itself, and that every life it told of was one that ran and ended.
func (f *following) ends(t *testing.T) {
	t.Helper()
	eventually(t, later, func() error {
		select {
		case <-f.over:
			return nil
		default:
			return errors.New("the follower goes on")
		}
	})
	require.NoError(t, f.err)
	order := api.InstanceStates()
	for id, life := range f.lives() {
		states := states(life)
		assert.Contains(t, states, api.StateRunning, id)
		assert.True(t, slices.IsSortedFunc(states, func(a, b api.InstanceState) int {
			return cmp.Compare(slices.Index(order, a), slices.Index(order, b))
		}), "%s: %v", id, states)
		assert.NotEmpty(t, life[0].Node, id)
		for i, status := range life[1:] {
			assert.NotEqual(t, life[i], status, "nothing is told twice")
		}
		last := life[len(life)-1]
		assert.Equal(t, api.StateDeleted, last.State, id)
		assert.NotNil(t, last.Exit, id)
	}
}

// tellsTheTruth compares what was told of instances that have ended with what they say themselves: each change of the state up
// to the end, once, at its time. That one ran already may have been told by its node's clock.
func tellsTheTruth(t *testing.T, temporal client.Client, lives map[string][]controller.Change) {
	t.Helper()
	for id, life := range lives {
		var own api.InstanceStatus
		require.NoError(t, temporal.GetWorkflow(t.Context(), api.InstanceWorkflowID(id), "").Get(t.Context(), &own))
		var told []api.StateChange
		for _, change := range life {
			entered := api.StateChange{State: change.State, At: change.Since}
			if len(told) == 0 || told[len(told)-1] != entered { // else its address, or the like, is another
				told = append(told, entered)
			}
			assert.False(t, change.Missed, id)
		}
		require.LessOrEqual(t, len(told), len(own.Changes), id)
		truth := own.Changes[len(own.Changes)-len(told):]
		if told[0].State == api.StateRunning {
			assert.WithinDuration(t, truth[0].At, told[0].At, soon, id)
			told[0].At = truth[0].At
		}
		assert.Equal(t, truth, told, id)
		assert.Equal(t, own.Exit, life[len(life)-1].Exit, id)
	}
}

// TestAFollowerThatIsKeptWaitingIsToldOfAll: its consumer takes nothing while one instance after the other crashes and the app
// is deleted.
func TestAFollowerThatIsKeptWaitingIsToldOfAll(t *testing.T) {
	const app = "follow-late"
	ctx := t.Context()
	instance := runsSleeping(t, app)
	next, stop := iter.Pull2(shared.Control.Follow(ctx, app))
	defer stop()
	lives := map[string][]controller.Change{}
	change, err, ok := next()
	require.True(t, ok)
	require.NoError(t, err)
	require.Equal(t, api.StateRunning, change.State, "it was there before")
	lives[change.InstanceID] = append(lives[change.InstanceID], change)

	ids := []string{instance.InstanceID}
	for range 2 {
		killApp(t, instance)
		eventually(t, later, func() error { return anotherRuns(ctx, app, instance.InstanceID) })
		status, err := shared.Control.App(ctx, app)
		require.NoError(t, err)
		instance = status.Instances[len(status.Instances)-1]
		ids = append(ids, instance.InstanceID)
	}
	remove(t, shared, app)
	for {
		change, err, ok := next()
		if !ok {
			break
		}
		require.NoError(t, err)
		lives[change.InstanceID] = append(lives[change.InstanceID], change)
	}
	require.ElementsMatch(t, ids, slices.Collect(maps.Keys(lives)))
	tellsTheTruth(t, shared.Temporal, lives)
	for _, id := range ids[1:] {
		assert.Equal(t, api.StateBorn, lives[id][0].State, "all of its life")
	}
}

// TestFollowATerminatedInstance: that nobody has seen it end is told, and when its workflow did.
func TestFollowATerminatedInstance(t *testing.T) {
	t.Parallel()
	ctx, id := t.Context(), uuid.NewString()
	w := worker.New(shared.Temporal, id, worker.Options{})
	w.RegisterWorkflowWithOptions(alone, workflow.RegisterOptions{Name: "alone"})
	require.NoError(t, w.Start())
	defer w.Stop()
	was := api.InstanceStatus{InstanceID: id, AppID: id, Version: "v1", State: api.StateRunning, Since: time.Unix(1, 0).UTC(), Node: "n"}
	_, err := shared.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: api.InstanceWorkflowID(id), TaskQueue: id}, "alone", was)
	require.NoError(t, err)
	f := follow(t, shared.Control, "", id)
	eventually(t, soon, func() error { return f.at(api.StateRunning, 1) })
	require.NoError(t, shared.Temporal.TerminateWorkflow(ctx, api.InstanceWorkflowID(id), "", "the test wants it"))
	f.ends(t)
	description, err := shared.Temporal.DescribeWorkflowExecution(ctx, api.InstanceWorkflowID(id), "")
	require.NoError(t, err)
	gone := was
	gone.State, gone.Since = api.StateDeleted, description.GetWorkflowExecutionInfo().GetCloseTime().AsTime()
	gone.Exit = &api.InstanceExit{Status: -1, Description: api.ExitNotDetermined}
	assert.Equal(t, []controller.Change{{InstanceStatus: was}, {InstanceStatus: gone, Missed: true}}, f.lives()[id])
}

// TestFollow follows an app through its life: it starts, grows, loses an instance, has another stopped, and is deleted.
func TestFollow(t *testing.T) {
	const app = "follow"
	ctx := t.Context()
	result := staged(t, app, zipOf(t, file("run", "sleep 3600")), buildpack{})
	spec, err := shared.AppSpec(ctx, app, result.DropletSHA1)
	require.NoError(t, err)
	spec.Message.URIs, spec.Instances = nil, 2
	for _, err := range shared.Control.Follow(ctx, app) {
		require.ErrorIs(t, err, controller.ErrNoSuchApp)
	}
	_, err = shared.Control.Run(ctx, spec)
	require.NoError(t, err)
	defer remove(t, shared, app)

	followers := []*following{follow(t, shared.Control, app, ""), follow(t, shared.Control, app, "")}
	at := func(state api.InstanceState, wanted int) {
		t.Helper()
		for _, f := range followers {
			eventually(t, later, func() error { return f.at(state, wanted) })
		}
	}
	at(api.StateRunning, 2)
	_, err = shared.Control.Scale(ctx, app, 3)
	require.NoError(t, err)
	at(api.StateRunning, 3)

	victims, err := shared.Control.FindInstances(ctx, api.InstanceFilter{AppID: app, Indices: []int{1}})
	require.NoError(t, err)
	require.Len(t, victims, 1)
	victim := follow(t, shared.Control, app, victims[0].InstanceID)
	eventually(t, soon, func() error { return victim.at(api.StateRunning, 1) })
	killApp(t, victims[0])
	victim.ends(t)
	at(api.StateDeleted, 1)
	at(api.StateRunning, 3)
	for _, f := range append(followers, victim) {
		life := f.lives()[victims[0].InstanceID]
		assert.Equal(t, api.ExitAppExited, life[len(life)-1].Exit.Description)
	}
	for _, err := range shared.Control.FollowInstance(ctx, "none-of-that-id") {
		require.ErrorIs(t, err, controller.ErrNoSuchInstance)
	}

	told, err := shared.Control.StopInstances(ctx, api.InstanceFilter{
		AppID: app, Indices: []int{2}, States: []api.InstanceState{api.StateRunning},
	}, "the test wants it")
	require.NoError(t, err)
	require.Len(t, told, 1)
	assert.Equal(t, 2, told[0].Index)
	at(api.StateDeleted, 2)
	at(api.StateRunning, 3)

	shown := startFollow(t, app)
	_, err = shared.Control.Delete(ctx, app, "the test wants it")
	require.NoError(t, err)
	assert.Equal(t, 3, strings.Count(shown(), `"state":"DELETED"`))
	for _, f := range followers {
		f.ends(t)
		tellsTheTruth(t, shared.Temporal, f.lives())
		assert.Len(t, f.lives(), 5)
		life := f.lives()[told[0].InstanceID]
		assert.Equal(t, api.ExitStopped, life[len(life)-1].Exit.Description)
	}
}

// startFollow has `starter follow` follow an app that it has shown, and gives all that it has said by its end.
func startFollow(t *testing.T, app string) func() string {
	t.Helper()
	starter, err := stack.Bin("starter")
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), starter, "--config", shared.Config, "follow", app, "-o", "json")
	out := &syncbuffer.Buffer{}
	command.Stdout, command.Stderr = out, out
	require.NoError(t, command.Start())
	eventually(t, later, func() error {
		if !strings.Contains(out.String(), `"state":"RUNNING"`) {
			return fmt.Errorf("nothing is shown yet but %q", out)
		}
		return nil
	})
	return func() string {
		require.NoError(t, command.Wait(), out)
		return out.String()
	}
}

// TestFollowThroughAnOutage takes Temporal away from under a follower. It tells of what happens afterwards.
func TestFollowThroughAnOutage(t *testing.T) {
	t.Parallel()
	f := newField(t, 1, stack.OwnOptions{})
	r := newTrial(t, f.gate, f.Stack, f.take(t))
	r.begin(t)
	result := r.succeeds(t)
	spec, err := f.AppSpec(t.Context(), r.app, result.DropletSHA1)
	require.NoError(t, err)
	spec.Message.Stack, spec.Message.URIs, spec.Message.StartCommand = r.request.Stack, nil, "sleep 3600"
	_, err = f.Control.Run(t.Context(), spec)
	require.NoError(t, err)
	// The stack's own client ends with it.
	c, err := controller.Dial(t.Context(), controller.Options{Temporal: f.Client.Temporal})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	follower := follow(t, c, r.app, "")
	eventually(t, later, func() error { return follower.at(api.StateRunning, 1) })
	require.NoError(t, f.KillKeepingPorts(t.Context()))
	require.NoError(t, f.Restart(t.Context()))
	eventually(t, later, func() error {
		_, err := f.Control.Scale(t.Context(), r.app, 2)
		return err
	})
	eventually(t, later, func() error { return follower.at(api.StateRunning, 2) })
	_, err = f.Control.Delete(t.Context(), r.app, "the test wants it")
	require.NoError(t, err)
	follower.ends(t)
	tellsTheTruth(t, f.Temporal, follower.lives())
}

// signalStep has a scripted app go on; it is the last one of its run where it says so.
const signalStep = "step"

// scripted answers as an app's workflow does, one status after the other: at each step the next, from run to run. Of its
// instance nobody else knows anything. Its history is longer than a page from the start.
func scripted(ctx workflow.Context, script [][]api.InstanceStatus) error {
	now := script[0]
	err := api.QueryApp.Handle(ctx, func() (api.AppStatus, error) { return api.AppStatus{Instances: now}, nil })
	if err != nil {
		return err
	}
	for range 600 { // each is an event
		workflow.SideEffect(ctx, func(workflow.Context) any { return nil })
	}
	for i, next := range script[1:] {
		again := false
		workflow.GetSignalChannel(ctx, signalStep).Receive(ctx, &again)
		if again {
			return workflow.NewContinueAsNewError(ctx, "scripted", script[i+1:])
		}
		now = next
	}
	workflow.GetSignalChannel(ctx, signalStep).Receive(ctx, nil)
	return nil
}

// TestFollowFromRunToRun follows an app's workflow as it continues as new, in a new run with what the old one did not tell.
func TestFollowFromRunToRun(t *testing.T) {
	t.Parallel()
	ctx, app := t.Context(), "scripted-"+uuid.NewString()
	// A script that another workflow answers by, with the ids of an app's: a real one continues after thousands of events.
	w := worker.New(shared.Temporal, app, worker.Options{})
	w.RegisterWorkflowWithOptions(scripted, workflow.RegisterOptions{Name: "scripted"})
	require.NoError(t, w.Start())
	defer w.Stop()
	at := func(state api.InstanceState, unready bool) []api.InstanceStatus {
		return []api.InstanceStatus{{
			InstanceID: app, AppID: app, State: state, Unready: unready, Since: time.Unix(1, 0).UTC(), Node: "n",
		}}
	}
	script := [][]api.InstanceStatus{
		at(api.StateRunning, false), at(api.StateRunning, true), // the first run
		at(api.StateRunning, true), at(api.StateRunning, false), // the second begins as the first was
		at(api.StateEvacuating, false), // the third with a change
	}
	id := api.AppWorkflowID(app)
	_, err := shared.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: app}, "scripted", script)
	require.NoError(t, err)
	run := func() string {
		described, err := shared.Temporal.DescribeWorkflow(ctx, id, "")
		require.NoError(t, err)
		return described.WorkflowExecution.RunID
	}
	goOn := func(again bool) {
		t.Helper()
		before := run()
		require.NoError(t, shared.Temporal.SignalWorkflow(ctx, id, "", signalStep, again))
		eventually(t, later, func() error { // a signal that finds a run about to continue as new would be lost with it
			if again && run() == before {
				return errors.New("the script has not continued as new")
			}
			return nil
		})
	}
	tells := func(f *following, number int) {
		t.Helper()
		eventually(t, later, func() error {
			if got := len(f.lives()[app]); got != number {
				return errors.Join(fmt.Errorf("%d changes were told, not %d", got, number), f.failed())
			}
			return nil
		})
	}
	early := follow(t, shared.Control, app, "")
	tells(early, 1)
	goOn(false)
	tells(early, 2)
	late := follow(t, shared.Control, app, "")
	tells(late, 1)
	goOn(true)
	goOn(false)
	tells(early, 3)
	tells(late, 2)
	goOn(true)
	tells(early, 4)
	tells(late, 3)
	goOn(false)
	early.ends(t)
	late.ends(t)
	tells(early, 5)
	tells(late, 4)
}
