package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// An absence of Temporal's server for longer than the grace lets the waiting Supervise time out, although its worker is
// there the moment that the server is.
func TestAbsentServerCostsNoReservation(t *testing.T) {
	w := newWorld(t).alone()
	works(w, activities.Supervise, activities.SuperviseResult{})
	w.OnActivity(activities.Supervise.Name(), mock.Anything, mock.Anything).Once().
		Return(activities.SuperviseResult{}, temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil))
	supervises(w)
	w.RegisterDelayedCallback(func() {
		require.Equal(t, api.NodeSuspect, w.node().State, "nothing is placed there")
		require.Len(t, w.node().Reservations, 1)
		w.SignalWorkflow(api.SignalAdvertise.Name(), anAdvertisement())
	}, 5*time.Second)
	w.RegisterDelayedCallback(func() {
		require.Equal(t, api.NodeReady, w.node().State)
		require.Len(t, w.node().Reservations, 1)
		w.CancelWorkflow()
	}, 6*time.Second)
	w.ExecuteWorkflow(api.WorkflowNode, api.NodeInput{
		Node: aNode, Advertisement: anAdvertisement(), State: api.NodeReady,
		Reservations: []api.Reservation{aReservation("a", 10)},
	})
	require.Empty(t, sentOf(w, api.InstanceWorkflowID("a"), api.SignalNodeLost))
}

func TestEvacuationTellsInstancesAndEndsWithTheNextWorker(t *testing.T) {
	w := newWorld(t).alone()
	supervised(w)
	said := anAdvertisement()
	said.Worker, said.EvacuationBailOut = "first", 10*time.Minute
	staging := api.Reservation{ID: "staging-t", Kind: api.KindStaging, Workflow: "stage/x/t"}
	var refused *reserved
	w.RegisterDelayedCallback(func() {
		w.UpdateWorkflow(api.UpdateEvacuate.Name(), "", &answer{}, api.EvacuateRequest{Reason: "a new kernel"})
	}, time.Second)
	w.RegisterDelayedCallback(func() {
		require.Equal(t, api.NodeEvacuating, w.node().State)
		refused = w.reserve(aReservation("b", 1))
		w.SignalWorkflow(api.SignalAdvertise.Name(), said) // As each hour: the same worker.
	}, 2*time.Second)
	w.RegisterDelayedCallback(func() {
		require.Equal(t, api.NodeEvacuating, w.node().State)
		next := said
		next.Worker = "second"
		w.SignalWorkflow(api.SignalAdvertise.Name(), next)
	}, 3*time.Second)
	w.RegisterDelayedCallback(func() {
		require.Equal(t, api.NodeReady, w.node().State)
		w.CancelWorkflow()
	}, 4*time.Second)
	w.ExecuteWorkflow(api.WorkflowNode, api.NodeInput{
		Node: aNode, Advertisement: said, State: api.NodeReady,
		Reservations: []api.Reservation{aReservation("a", 10), staging},
	})
	require.Equal(t, map[string]api.Constraint{"b": api.ConstraintState}, refused.result.Refused)
	require.Equal(t, []api.EvacuateInstance{{Reason: "a new kernel", Node: aNode, BailOut: 10 * time.Minute}},
		sentOf(w, api.InstanceWorkflowID("a"), api.SignalEvacuateInstance))
	require.Empty(t, w.sent("stage/x/t", api.SignalEvacuateInstance.Name()), "a staging ends by itself")
}

// An instance whose room is booked may begin long after the evacuation.
func TestEvacuationIsToldUntilItIsHeard(t *testing.T) {
	w := newWorld(t)
	supervised(w)
	tries := w.heardAt(api.InstanceWorkflowID("a"), 9)
	w.at(time.Second, func() {
		w.UpdateWorkflow(api.UpdateEvacuate.Name(), "", &answer{}, api.EvacuateRequest{Reason: "a new kernel"})
	})
	w.at(20*time.Minute, w.CancelWorkflow)
	w.ExecuteWorkflow(api.WorkflowNode, api.NodeInput{
		Node: aNode, Advertisement: anAdvertisement(), State: api.NodeReady,
		Reservations: []api.Reservation{aReservation("a", 10)},
	})
	require.Equal(t, 9, *tries)
}

func TestNextRunGoesOnEvacuating(t *testing.T) {
	w := newWorld(t).alone()
	supervised(w)
	w.at(time.Minute, w.CancelWorkflow)
	w.ExecuteWorkflow(api.WorkflowNode, api.NodeInput{
		Node: aNode, Advertisement: anAdvertisement(), State: api.NodeReady, Evacuating: true,
		Reservations: []api.Reservation{aReservation("a", 10), {ID: "staging-t", Kind: api.KindStaging, Workflow: "stage/x/t"}},
	})
	require.Len(t, sentOf(w, api.InstanceWorkflowID("a"), api.SignalEvacuateInstance), 1)
	require.Empty(t, w.sent("stage/x/t", api.SignalEvacuateInstance.Name()))
}

func TestLeavingEndsWithTheNextWorkerAndDrainingDoesNot(t *testing.T) {
	for _, request := range []api.DrainRequest{{Draining: true}, {Draining: true, UntilRestart: true}} {
		w := newWorld(t).alone()
		supervised(w)
		said := anAdvertisement()
		said.Worker = "first"
		w.RegisterDelayedCallback(func() {
			w.UpdateWorkflow(api.UpdateDrain.Name(), "", &answer{}, request)
		}, time.Second)
		w.RegisterDelayedCallback(func() {
			require.Equal(t, api.NodeDraining, w.node().State)
			next := said
			next.Worker = "second"
			w.SignalWorkflow(api.SignalAdvertise.Name(), next)
		}, 2*time.Second)
		w.RegisterDelayedCallback(func() {
			want := api.NodeDraining
			if request.UntilRestart {
				want = api.NodeReady
			}
			require.Equal(t, want, w.node().State)
			w.CancelWorkflow()
		}, 3*time.Second)
		w.ExecuteWorkflow(api.WorkflowNode, api.NodeInput{Node: aNode, Advertisement: said, State: api.NodeReady})
	}
}

func TestStatusSaysWhatIsLeftAndWhoseInstancesAreHere(t *testing.T) {
	w := newWorld(t).alone()
	supervised(w)
	w.RegisterDelayedCallback(func() {
		s := w.node()
		require.InDelta(t, 0.9, s.MemoryRatio, 1e-9)
		require.InDelta(t, 0.99, s.DiskRatio, 1e-9)
		require.Equal(t, map[string]int{"hello": 2}, s.Instances)
		w.CancelWorkflow()
	}, time.Second)
	w.ExecuteWorkflow(api.WorkflowNode, api.NodeInput{
		Node: aNode, Advertisement: anAdvertisement(), State: api.NodeReady,
		Reservations: []api.Reservation{
			aReservation("a", 40), aReservation("b", 40),
			{ID: "staging-t", Kind: api.KindStaging, AppID: "hello", Resources: api.Resources{MemoryMB: 20}},
		},
	})
}
