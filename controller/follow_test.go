package controller

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/api"
)

// TestWhatHasChangedIsToldAndNothingElse: of what is no change of the state.
func TestWhatHasChangedIsToldAndNothingElse(t *testing.T) {
	before := api.InstanceStatus{
		InstanceID: "i", AppID: "a", Version: "v1", State: api.StateRunning, Since: time.Unix(1, 0),
		URIs: []string{"x"}, Exit: &api.InstanceExit{Status: 1},
	}
	for name, test := range map[string]struct {
		change func(*api.InstanceStatus)
		told   bool
	}{
		"nothing":             {func(*api.InstanceStatus) {}, false},
		"where files are":     {func(i *api.InstanceStatus) { i.FilesURL = "http://n" }, false},
		"another exit, alike": {func(i *api.InstanceStatus) { i.Exit = &api.InstanceExit{Status: 1} }, false},
		"the same moment":     {func(i *api.InstanceStatus) { i.Since = i.Since.UTC() }, false},
		"the same routes":     {func(i *api.InstanceStatus) { i.URIs = []string{"x"} }, false},
		"the state":           {func(i *api.InstanceStatus) { i.State, i.Since = api.StateStopping, time.Unix(2, 0) }, true},
		"since when":          {func(i *api.InstanceStatus) { i.Since = time.Unix(2, 0) }, true},
		"the node":            {func(i *api.InstanceStatus) { i.Node = "n" }, true},
		"the address":         {func(i *api.InstanceStatus) { i.Address = "h:1" }, true},
		"the version":         {func(i *api.InstanceStatus) { i.Version = "v2" }, true},
		"the readiness":       {func(i *api.InstanceStatus) { i.Unready = true }, true},
		"the routes":          {func(i *api.InstanceStatus) { i.URIs = nil }, true},
		"the exit":            {func(i *api.InstanceStatus) { i.Exit = &api.InstanceExit{Status: 2} }, true},
		"no exit":             {func(i *api.InstanceStatus) { i.Exit = nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			own, repeated := &followed{}, &followed{said: before}
			require.Equal(t, []Change{{InstanceStatus: before}}, own.take(before))
			require.Equal(t, []Change{{InstanceStatus: before}}, repeated.repeat())
			now := before
			test.change(&now)
			repeated.said = now
			if test.told {
				require.Len(t, own.take(now), 1)
				require.Len(t, repeated.repeat(), 1)
			}
			require.Empty(t, own.take(now), "once")
			require.Empty(t, repeated.repeat(), "once")
		})
	}
}

// life is an instance's own answer after so many of its changes, one each second.
func life(states ...api.InstanceState) api.InstanceStatus {
	own := api.InstanceStatus{InstanceID: "i", Node: "n", Address: "h:1"}
	for n, state := range states {
		own.State, own.Since = state, time.Unix(int64(n), 0)
		if state == api.StateRunning && own.RunningSince.IsZero() {
			own.RunningSince = own.Since
		}
		if state.Ended() {
			own.Exit = &api.InstanceExit{Status: 7, Description: api.ExitAppExited}
		}
		own.Changes = append(own.Changes, api.StateChange{State: state, At: own.Since})
	}
	return own
}

// told are the states of changes, and the index of those before which some are missed.
func told(changes []Change) (states []api.InstanceState, missed []int) {
	for n, change := range changes {
		states = append(states, change.State)
		if change.Missed {
			missed = append(missed, n)
		}
	}
	return states, missed
}

// TestEveryChangeIsTold: what has happened between two looks, in order, each with what was so at the time.
func TestEveryChangeIsTold(t *testing.T) {
	all := []api.InstanceState{
		api.StateBorn, api.StateStarting, api.StateRunning, api.StateResuming, api.StateRunning, api.StateCrashed, api.StateDeleted,
	}
	for looks := 1; looks < len(all); looks++ { // one each so many changes
		i := &followed{whole: true}
		var changes []Change
		for n := looks; n < len(all)+looks; n += looks {
			changes = append(changes, i.take(life(all[:min(n, len(all))]...))...)
		}
		states, missed := told(changes)
		require.Equal(t, all, states, "%d changes at a look", looks)
		require.Empty(t, missed)
		for n, change := range changes {
			require.Equal(t, time.Unix(int64(n), 0), change.Since)
			require.Equal(t, change.State.Ended(), change.Exit != nil, change.State)
			require.Equal(t, n < 2, change.RunningSince.IsZero(), change.State)
			require.Nil(t, change.Changes)
		}
		require.True(t, i.over)
	}
	i := &followed{} // it was there before: what has been is not told
	states, _ := told(i.take(life(all[:3]...)))
	require.Equal(t, all[2:3], states)
	states, _ = told(i.take(life(all...)))
	require.Equal(t, all[3:], states)
	require.Empty(t, within(life(all...), api.StateChange{State: api.StateBorn}).Address, "it had none yet")
}

// TestChangesOfOneMomentAreToldOnce: a worker that comes back finds at once what it looks for.
func TestChangesOfOneMomentAreToldOnce(t *testing.T) {
	own := life(api.StateRunning, api.StateResuming, api.StateRunning)
	own.Changes[2].At, own.Since = own.Changes[1].At, own.Changes[1].At
	i := &followed{}
	i.take(life(api.StateRunning))
	states, _ := told(i.take(own))
	require.Equal(t, []api.InstanceState{api.StateResuming, api.StateRunning}, states)
	require.Empty(t, i.take(own))
}

// TestItsNodeMayTellFirst that an instance runs: that is no change more, and an instance that does not know it yet takes nothing
// back.
func TestItsNodeMayTellFirst(t *testing.T) {
	said := life(api.StateRunning)
	said.Since = time.Unix(1, 999)
	said.RunningSince, said.Changes = said.Since, nil
	i := &followed{said: said}
	require.Len(t, i.repeat(), 1)
	require.Empty(t, i.take(life(api.StateBorn, api.StateStarting)))
	require.Empty(t, i.take(life(api.StateBorn, api.StateStarting, api.StateRunning)))
	states, missed := told(i.take(life(api.StateBorn, api.StateStarting, api.StateRunning, api.StateStopping)))
	require.Equal(t, []api.InstanceState{api.StateStopping}, states)
	require.Empty(t, missed)

	i = &followed{said: said} // the next word is of its end, and the clocks of node and server differ
	i.repeat()
	early := life(api.StateBorn, api.StateStarting, api.StateRunning, api.StateCrashed)
	for n := range early.Changes {
		early.Changes[n].At = early.Changes[n].At.Add(-time.Hour)
	}
	states, missed = told(i.take(early))
	require.Equal(t, []api.InstanceState{api.StateCrashed}, states)
	require.Empty(t, missed)
}

// TestItsNodeMayBeWrong: the instance was ended before it had heard that it runs.
func TestItsNodeMayBeWrong(t *testing.T) {
	said := life(api.StateRunning)
	said.RunningSince, said.Changes = said.Since, nil
	i := &followed{said: said}
	i.repeat()
	states, _ := told(i.take(life(api.StateBorn, api.StateStarting, api.StateCrashed)))
	require.Equal(t, []api.InstanceState{api.StateCrashed}, states)
}

// TestWhatIsLostIsMarked: an instance remembers its first changes and its latest.
func TestWhatIsLostIsMarked(t *testing.T) {
	had := []api.InstanceState{api.StateBorn, api.StateStarting}
	for range api.MaxStateChanges {
		had = append(had, api.StateRunning, api.StateResuming)
	}
	remembers := func(number int) api.InstanceStatus {
		own := life(had[:number]...)
		if over := number - api.MaxStateChanges; over > 0 {
			own.Changes = slices.Delete(own.Changes, api.FirstStateChanges, api.FirstStateChanges+over)
		}
		return own
	}
	for name, test := range map[string]struct {
		seen, now int
		told      int
		missed    []int
	}{
		"as many as fit, but one":       {3, api.MaxStateChanges - 1, api.MaxStateChanges - 4, nil},
		"all of them remembered":        {api.MaxStateChanges - 2, api.MaxStateChanges + 2, 4, nil},
		"one is the last that is known": {api.MaxStateChanges, 2*api.MaxStateChanges - api.FirstStateChanges - 1, 23, nil},
		"one is forgotten":              {api.MaxStateChanges, 2*api.MaxStateChanges - api.FirstStateChanges, 24, []int{0}},
		"since its first changes":       {3, 2 * api.MaxStateChanges, api.MaxStateChanges - 3, []int{api.FirstStateChanges - 3}},
		"of one that came meanwhile":    {0, 2 * api.MaxStateChanges, api.MaxStateChanges, []int{api.FirstStateChanges}},
	} {
		t.Run(name, func(t *testing.T) {
			i := &followed{whole: true}
			if test.seen > 0 {
				i.take(remembers(test.seen))
			}
			changes := i.take(remembers(test.now))
			_, missed := told(changes)
			require.Len(t, changes, test.told)
			require.Equal(t, test.missed, missed)
			require.True(t, slices.IsSortedFunc(changes, func(a, b Change) int { return a.Since.Compare(b.Since) }))
		})
	}
}

func TestAnEndIsToldAsDeleted(t *testing.T) {
	at := time.Unix(99, 0)
	crashed := life(api.StateRunning, api.StateCrashed)
	whole := life(api.StateRunning, api.StateCrashed, api.StateDeleted)
	i := &followed{}
	i.take(crashed)
	deleted := whole
	deleted.Changes = nil
	require.Equal(t, []Change{{InstanceStatus: deleted}}, i.ended(ending{status: whole, at: at}))
	require.Empty(t, i.ended(ending{status: whole, at: at}), "once")

	i = &followed{} // its workflow was terminated after another change
	i.take(life(api.StateRunning))
	changes := i.ended(ending{status: crashed, at: at})
	states, missed := told(changes)
	require.Equal(t, []api.InstanceState{api.StateCrashed, api.StateDeleted}, states)
	require.Equal(t, []int{1}, missed)
	require.Equal(t, at, changes[1].Since)
	require.Equal(t, crashed.Exit, changes[1].Exit, "as far as it is known")

	i = &followed{} // it was terminated, and nobody answers for it
	i.take(life(api.StateRunning))
	changes = i.ended(ending{at: at})
	require.Len(t, changes, 1)
	require.True(t, changes[0].Missed)
	require.Equal(t, api.ExitNotDetermined, changes[0].Exit.Description)
	require.Empty(t, (&followed{}).ended(ending{at: at}), "of what was never heard of nothing is told")
}

// TestIdleInstancesAreNotAsked, at the first look neither: only those of which the app may not know it, and those of which it
// says something else.
func TestIdleInstancesAreNotAsked(t *testing.T) {
	f := &follower{}
	at := func(id string, state api.InstanceState) api.InstanceStatus {
		return api.InstanceStatus{InstanceID: id, State: state}
	}
	states, _ := told(f.compare(t.Context(), []api.InstanceStatus{at("a", api.StateRunning), at("b", api.StateStarting)}, true))
	require.Equal(t, []api.InstanceState{api.StateRunning}, states)
	require.Equal(t, []string{"b"}, f.unsure())
	f.known["b"].unsure = false
	for range 2 {
		require.Empty(t, f.compare(t.Context(), []api.InstanceStatus{at("a", api.StateRunning), at("b", api.StateStarting)}, false))
		require.Empty(t, f.unsure())
	}
	f.compare(t.Context(), []api.InstanceStatus{at("b", api.StateRunning), at("c", api.StateRunning)}, false)
	require.Equal(t, []string{"a", "b", "c"}, f.unsure(), "gone, changed and new")
	require.False(t, f.known["b"].whole)
	require.True(t, f.known["c"].whole)
}

// answers is a Temporal whose instances answer one status after the other.
type answers struct {
	client.Client
	left []api.InstanceStatus
}

func (a *answers) QueryWorkflow(context.Context, string, string, string, ...any) (converter.EncodedValue, error) {
	if len(a.left) == 0 {
		return nil, serviceerror.NewNotFound("none yet")
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(a.left[0])
	a.left = a.left[1:]
	return client.NewValue(payloads), err
}

// TestWhoIsNotYetWhatItsAppSaysIsAskedAgain: its app is told of nothing more then, so that no bell rings.
func TestWhoIsNotYetWhatItsAppSaysIsAskedAgain(t *testing.T) {
	a := &answers{}
	f := newFollower(New(a, nil), "app")
	says := func(state api.InstanceState) {
		f.compare(t.Context(), []api.InstanceStatus{{InstanceID: "i", State: state, Node: "n"}}, false)
	}
	hears := func(wanted ...api.InstanceState) {
		t.Helper()
		changes, err := f.askUnsure(t.Context())
		require.NoError(t, err)
		states, _ := told(changes)
		require.Equal(t, wanted, states)
	}
	says(api.StateStarting)
	hears() // it has not begun
	require.Equal(t, firstPause, f.wait)
	says(api.StateRunning) // by its node
	a.left = append(a.left, life(api.StateBorn, api.StateStarting))
	hears(api.StateBorn, api.StateStarting)
	require.Equal(t, 2*firstPause, f.wait)
	a.left = append(a.left, life(api.StateBorn, api.StateStarting, api.StateRunning))
	hears(api.StateRunning)
	require.Zero(t, f.wait)
	hears()
}

// TestABirthIsHeardOnce: also after the end of the instance, which is not told again.
func TestABirthIsHeardOnce(t *testing.T) {
	f := &follower{known: map[string]*followed{"over": {over: true}, "told": {over: true, born: true}, "there": {}}}
	f.forget()
	require.Len(t, f.known, 2)
	f.begin([]string{api.InstanceWorkflowID("over"), api.InstanceWorkflowID("there"), api.InstanceWorkflowID("new"), "droplet/n/x"})
	f.forget()
	require.Equal(t, map[string]*followed{"there": {born: true}, "new": {whole: true, unsure: true, born: true}}, f.known)
}

// TestBellRings for what a workflow has done since it was asked, and for nothing else.
func TestBellRings(t *testing.T) {
	const (
		signalled = enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
		done      = enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
	)
	page := func(first int64, types ...enumspb.EventType) *workflowservice.GetWorkflowExecutionHistoryResponse {
		history := &historypb.History{}
		for i, one := range types {
			history.Events = append(history.Events, &historypb.HistoryEvent{EventId: first + int64(i), EventType: one})
		}
		return &workflowservice.GetWorkflowExecutionHistoryResponse{History: history}
	}
	b := &bell{heard: 4}
	require.False(t, b.take(page(1, signalled, done)), "known already")
	require.Equal(t, int64(4), b.heard)
	require.False(t, b.take(page(3, done, done)), "known already")
	require.False(t, b.take(page(5, signalled)), "nothing was done about it yet")
	require.True(t, b.take(page(6, done, signalled)))
	require.Equal(t, int64(7), b.heard)
	require.False(t, b.take(page(6, done, signalled)), "a page that is read again")
	require.False(t, b.take(page(8)))
	require.True(t, b.take(&workflowservice.GetWorkflowExecutionHistoryResponse{RawHistory: []*commonpb.DataBlob{{}}}))
}

// TestBellHearsOfChildrenAndOfTheNextRun, of what it has not heard yet.
func TestBellHearsOfChildrenAndOfTheNextRun(t *testing.T) {
	begins := func(event int64, child string) *historypb.HistoryEvent {
		return &historypb.HistoryEvent{EventId: event, Attributes: &historypb.HistoryEvent_ChildWorkflowExecutionStartedEventAttributes{
			ChildWorkflowExecutionStartedEventAttributes: &historypb.ChildWorkflowExecutionStartedEventAttributes{
				WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: child},
			},
		}}
	}
	continues := &historypb.HistoryEvent{EventId: 7, Attributes: &historypb.HistoryEvent_WorkflowExecutionContinuedAsNewEventAttributes{
		WorkflowExecutionContinuedAsNewEventAttributes: &historypb.WorkflowExecutionContinuedAsNewEventAttributes{NewExecutionRunId: "next"},
	}}
	b := &bell{heard: 4, over: true}
	b.take(&workflowservice.GetWorkflowExecutionHistoryResponse{History: &historypb.History{
		Events: []*historypb.HistoryEvent{begins(4, "a"), begins(5, "b"), begins(6, "c"), continues},
	}})
	require.Equal(t, []string{"b", "c"}, b.begun)
	require.Equal(t, "next", b.following)
}

// silent is a Temporal that takes questions and answers none.
type silent struct {
	client.Client
	asked chan struct{}
}

func (s *silent) DescribeWorkflowExecution(ctx context.Context, _, _ string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	close(s.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestNothingIsLeftOfAFollower whose context ends while it waits for an answer.
func TestNothingIsLeftOfAFollower(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := &silent{asked: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.asked
		cancel()
	}()
	for change, err := range New(s, nil).Follow(ctx, "app") {
		require.Empty(t, change)
		require.ErrorIs(t, err, context.Canceled)
	}
	goleak.VerifyNone(t, before)
}

// TestAFollowerWaitsNoLongerThanItsContext: a deadline of its own questions passes, one of the caller's does not.
func TestAFollowerWaitsNoLongerThanItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	require.True(t, lasting(ctx)(context.DeadlineExceeded))
	require.False(t, lasting(ctx)(context.Canceled))
	cancel()
	require.False(t, lasting(ctx)(context.DeadlineExceeded))
}
