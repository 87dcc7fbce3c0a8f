package workflows_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

func anAdvertisement() api.NodeAdvertisement {
	return api.NodeAdvertisement{
		Capacity:       api.Resources{MemoryMB: 1000, DiskMB: 2000},
		StagingMinimum: api.Resources{MemoryMB: 300, DiskMB: 300},
		Stacks:         []string{"host"}, Zone: "z1", FilesURL: "http://node.localhost", Grace: time.Minute,
	}
}

func aReservation(id string, memory int64) api.Reservation {
	return api.Reservation{
		ID: id, Kind: api.KindInstance, AppID: "hello", Workflow: api.InstanceWorkflowID(id),
		Resources: api.Resources{MemoryMB: memory, DiskMB: 10}, Stack: "host",
	}
}

// reserved is what an update was told.
type reserved struct {
	t        *testing.T
	rejected error
	result   api.ReserveResult
}

func (r *reserved) Accept()          {}
func (r *reserved) Reject(err error) { r.rejected = err }
func (r *reserved) Complete(value any, err error) {
	require.NoError(r.t, err)
	result, ok := value.(api.ReserveResult)
	require.True(r.t, ok)
	r.result = result
}

func (w *world) reserve(reservations ...api.Reservation) *reserved {
	return w.reserveAs("", reservations...)
}

// reserveAs books under an update's id.
func (w *world) reserveAs(booking string, reservations ...api.Reservation) *reserved {
	r := &reserved{t: w.t}
	w.UpdateWorkflow(api.UpdateReserve.Name(), booking, r, api.ReserveRequest{Reservations: reservations})
	return r
}

func (w *world) node() api.NodeStatus {
	w.t.Helper()
	value, err := w.QueryWorkflow(api.QueryNode.Name())
	require.NoError(w.t, err)
	var status api.NodeStatus
	require.NoError(w.t, value.Get(&status))
	return status
}

func (w *world) runNode() {
	w.ExecuteWorkflow(api.WorkflowNode, api.NodeInput{Node: aNode})
	require.True(w.t, temporal.IsCanceledError(w.GetWorkflowError()), "only the test ends a node: %v", w.GetWorkflowError())
}

func TestLedger(t *testing.T) {
	w := newWorld(t).alone()
	supervised(w)
	var first, again, others, tooMuch, wrongStack, none *reserved
	w.RegisterDelayedCallback(func() { w.SignalWorkflow(api.SignalAdvertise.Name(), anAdvertisement()) }, 0)
	w.RegisterDelayedCallback(func() {
		first = w.reserve(aReservation("a", 600), aReservation("b", 300), aReservation("c", 200))
	}, time.Second)
	w.RegisterDelayedCallback(func() { again = w.reserve(aReservation("a", 600)) }, 2*time.Second)
	w.RegisterDelayedCallback(func() {
		r := aReservation("a", 600)
		r.Workflow = "stage/other/a"
		others = w.reserve(r)
	}, 2500*time.Millisecond)
	w.RegisterDelayedCallback(func() { tooMuch = w.reserve(aReservation("d", 101)) }, 3*time.Second)
	w.RegisterDelayedCallback(func() { none = w.reserve() }, 4*time.Second)
	w.RegisterDelayedCallback(func() {
		wrongStack = &reserved{t: t}
		r := aReservation("e", 1)
		r.Stack = "cflinuxfs4"
		w.UpdateWorkflow(api.UpdateReserve.Name(), "", wrongStack, api.ReserveRequest{Reservations: []api.Reservation{r}})
	}, 5*time.Second)
	w.RegisterDelayedCallback(func() {
		s := w.node()
		require.Equal(t, api.NodeReady, s.State)
		require.Equal(t, api.Resources{MemoryMB: 900, DiskMB: 20}, s.Reserved)
		require.Equal(t, api.Resources{MemoryMB: 100, DiskMB: 1980}, s.Remaining)
		require.Len(t, s.Reservations, 2)
		w.SignalWorkflow(api.SignalRelease.Name(), api.ReleaseRequest{IDs: []string{"a", "never was"}})
	}, 6*time.Second)
	w.RegisterDelayedCallback(func() {
		require.EqualValues(t, 300, w.node().Reserved.MemoryMB)
		w.CancelWorkflow()
	}, 7*time.Second)
	w.runNode()

	require.Equal(t, []string{"a", "b"}, first.result.Accepted)
	require.Equal(t, map[string]api.Constraint{"c": api.ConstraintMemory}, first.result.Refused)
	require.Equal(t, "http://node.localhost", first.result.FilesURL)
	require.Equal(t, time.Minute, first.result.Grace)
	require.Equal(t, []string{"a"}, again.result.Accepted, "the same id twice is one reservation")
	require.Equal(t, map[string]api.Constraint{"a": api.ConstraintTaken}, others.result.Refused)
	require.Equal(t, map[string]api.Constraint{"d": api.ConstraintMemory}, tooMuch.result.Refused)
	require.Equal(t, map[string]api.Constraint{"e": api.ConstraintStack}, wrongStack.result.Refused)
	require.Error(t, none.rejected)
}

// supervised keeps the supervisor at work for an hour of the test's time.
func supervised(w *world) {
	works(w, activities.Supervise, activities.SuperviseResult{})
	supervises(w)
}

// supervises has the supervisor of a registered activity be at work, by the test's time and not the machine's.
func supervises(w *world) {
	w.OnActivity(activities.Supervise.Name(), mock.Anything, mock.Anything).After(time.Hour).
		Return(activities.SuperviseResult{Reason: activities.EndTerm}, nil)
}

func TestStagingIsBookedWithTheNodesMinimum(t *testing.T) {
	w := newWorld(t).alone()
	supervised(w)
	w.RegisterDelayedCallback(func() { w.SignalWorkflow(api.SignalAdvertise.Name(), anAdvertisement()) }, 0)
	w.RegisterDelayedCallback(func() {
		r := aReservation("staging-t", 1)
		r.Kind = api.KindStaging
		w.reserve(r)
	}, time.Second)
	w.RegisterDelayedCallback(func() {
		require.Equal(t, api.Resources{MemoryMB: 300, DiskMB: 300}, w.node().Reserved)
		w.CancelWorkflow()
	}, 2*time.Second)
	w.runNode()
}

func TestDrainedNodeTakesNothingNew(t *testing.T) {
	w := newWorld(t).alone()
	supervised(w)
	var refused *reserved
	w.RegisterDelayedCallback(func() { w.SignalWorkflow(api.SignalAdvertise.Name(), anAdvertisement()) }, 0)
	w.RegisterDelayedCallback(func() {
		w.UpdateWorkflow(api.UpdateDrain.Name(), "", &answer{}, api.DrainRequest{Draining: true})
	}, time.Second)
	w.RegisterDelayedCallback(func() { refused = w.reserve(aReservation("a", 1)) }, 2*time.Second)
	w.RegisterDelayedCallback(func() {
		require.Equal(t, api.NodeDraining, w.node().State)
		w.CancelWorkflow()
	}, 3*time.Second)
	w.runNode()
	require.Equal(t, map[string]api.Constraint{"a": api.ConstraintState}, refused.result.Refused)
}

func TestSilentNodeIsSuspectThenLost(t *testing.T) {
	w := newWorld(t).alone()
	attempt := 0
	does(w, activities.Supervise, func(context.Context, activities.SuperviseParams) (activities.SuperviseResult, error) {
		if attempt++; attempt == 1 {
			return activities.SuperviseResult{Reason: activities.EndStopping}, nil
		}
		if attempt <= 3 { // Asked twice: once may be an absence of Temporal's.
			return activities.SuperviseResult{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
		}
		return activities.SuperviseResult{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, nil)
	})
	in := api.NodeInput{
		Node: aNode, Advertisement: anAdvertisement(), State: api.NodeReady,
		Reservations: []api.Reservation{aReservation("a", 10), {ID: "staging-t", Kind: api.KindStaging, Workflow: "stage/x/t"}},
	}
	w.RegisterDelayedCallback(func() {
		s := w.node()
		require.Equal(t, api.NodeStateLost, s.State)
		require.Empty(t, s.Reservations)
		w.SignalWorkflow(api.SignalAdvertise.Name(), anAdvertisement())
	}, 30*time.Second+500*time.Millisecond)
	w.RegisterDelayedCallback(func() {
		require.Equal(t, api.NodeReady, w.node().State, "it came back")
		w.CancelWorkflow()
	}, 30*time.Second+501*time.Millisecond)
	w.ExecuteWorkflow(api.WorkflowNode, in)
	require.True(t, temporal.IsCanceledError(w.GetWorkflowError()))
	require.Equal(t, []api.NodeLost{{Node: aNode}}, sentOf(w, api.InstanceWorkflowID("a"), api.SignalNodeLost))
	require.Equal(t, []api.NodeLost{{Node: aNode}}, sentOf(w, "stage/x/t", api.SignalNodeLost))
}

func TestNodeContinuesAsNewWithItsLedger(t *testing.T) {
	w := newWorld(t).alone()
	supervised(w)
	w.RegisterDelayedCallback(func() { w.SignalWorkflow(api.SignalAdvertise.Name(), anAdvertisement()) }, 0)
	w.RegisterDelayedCallback(func() { w.reserveAs("first", aReservation("a", 1), aReservation("b", 1)) }, time.Minute)
	w.RegisterDelayedCallback(func() {
		// It is handed to the listener in the very task in which the run finds that it may continue.
		w.suggestWithNext()
		w.SignalWorkflow(api.SignalRelease.Name(), api.ReleaseRequest{IDs: []string{"b"}})
	}, 2*time.Minute)
	w.ExecuteWorkflow(api.WorkflowNode, api.NodeInput{Node: aNode})
	in := nextInput[api.NodeInput](w)
	booked := aReservation("a", 1)
	booked.Bookings = []string{"first"}
	require.Equal(t, api.NodeInput{
		Node: aNode, Advertisement: anAdvertisement(), State: api.NodeReady,
		Reservations: []api.Reservation{booked},
	}, in)
}

// nextInput is the input of the run that continues the one under test.
func nextInput[In any](w *world) In {
	w.t.Helper()
	var next *workflow.ContinueAsNewError
	require.ErrorAs(w.t, w.GetWorkflowError(), &next)
	var in In
	require.NoError(w.t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
	return in
}

func TestNodeContinuesOnlyWhenEverybodyIsTold(t *testing.T) {
	w := newWorld(t)
	supervised(w)
	tries := w.heardAt(api.InstanceWorkflowID("a"), 3)
	w.RegisterDelayedCallback(func() {
		w.suggestWithNext()
		w.UpdateWorkflow(api.UpdateEvacuate.Name(), "", &answer{}, api.EvacuateRequest{})
	}, time.Minute)
	w.ExecuteWorkflow(api.WorkflowNode, api.NodeInput{
		Node: aNode, Advertisement: anAdvertisement(), State: api.NodeReady,
		Reservations: []api.Reservation{aReservation("a", 10)},
	})
	require.True(t, nextInput[api.NodeInput](w).Evacuating)
	require.Equal(t, 3, *tries)
}

// A worker that did not hear the answer takes back what it had booked, maybe after another one has booked the same.
func TestOnlyTheLastBookingGivesRoomBack(t *testing.T) {
	w := newWorld(t).alone()
	supervised(w)
	takeBack := func(booking string) {
		w.SignalWorkflow(api.SignalRelease.Name(), api.ReleaseRequest{IDs: []string{"a"}, Booking: booking})
	}
	booked := func(after time.Duration, want int) {
		w.RegisterDelayedCallback(func() { require.Len(t, w.node().Reservations, want, "after %s", after) }, after)
	}
	w.RegisterDelayedCallback(func() { w.SignalWorkflow(api.SignalAdvertise.Name(), anAdvertisement()) }, 0)
	w.RegisterDelayedCallback(func() {
		w.reserveAs("first", aReservation("a", 1))
		w.reserveAs("second", aReservation("a", 1))
	}, 1*time.Second)
	w.RegisterDelayedCallback(func() { takeBack("first"); takeBack("first"); takeBack("never was") }, 2*time.Second)
	booked(3*time.Second, 1)
	w.RegisterDelayedCallback(func() { takeBack("second") }, 4*time.Second)
	booked(5*time.Second, 0)
	w.RegisterDelayedCallback(func() { w.reserveAs("third", aReservation("a", 1)) }, 6*time.Second)
	w.RegisterDelayedCallback(func() { takeBack("") }, 7*time.Second)
	booked(8*time.Second, 0)
	w.RegisterDelayedCallback(w.CancelWorkflow, 9*time.Second)
	w.runNode()
}

func TestOnlyALostNodeIsForgotten(t *testing.T) {
	w := newWorld(t).alone()
	supervised(w)
	refused, taken := &answer{}, &answer{}
	forget := func(a *answer) func() {
		return func() {
			w.UpdateWorkflow(api.UpdateForget.Name(), "", a, api.ForgetRequest{Reason: "sold"})
		}
	}
	w.RegisterDelayedCallback(forget(refused), time.Second)
	w.RegisterDelayedCallback(func() { w.SignalWorkflow(api.SignalAdvertise.Name(), anAdvertisement()) }, 2*time.Second)
	w.RegisterDelayedCallback(w.CancelWorkflow, 3*time.Second)
	w.runNode()
	require.ErrorContains(t, refused.rejected, `node "0-node" is SUSPECT: only one that is LOST can be forgotten`)

	w = newWorld(t).alone()
	supervised(w)
	w.RegisterDelayedCallback(forget(taken), time.Second)
	w.ExecuteWorkflow(api.WorkflowNode, api.NodeInput{Node: aNode, Advertisement: anAdvertisement(), State: api.NodeStateLost})
	require.NoError(t, w.GetWorkflowError())
	require.NoError(t, taken.rejected)
	require.True(t, taken.done)
}
