package integration

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/crowd"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// pair is two nodes of a test's own, and an app that either may run.
type pair struct {
	*field
	app     string
	droplet *crowd.Droplet
}

// newPair runs an app with some instances on two nodes.
func newPair(t *testing.T, instances int, options stack.OwnOptions) *pair {
	t.Helper()
	p := &pair{field: newField(t, 2, options), app: "signalled", droplet: crowd.NewDroplet(t, "signalled")}
	for _, node := range p.nodes {
		ready(t, node)
	}
	_, err := p.Control.Run(t.Context(), api.AppSpec{
		Message: p.droplet.Message(p.app, "v1", stack.OwnStack), Instances: instances,
	})
	require.NoError(t, err)
	p.runs(t, instances)
	return p
}

// runs waits until so many instances run, and no others are left, and gives them.
func (p *pair) runs(t *testing.T, instances int) []api.InstanceStatus {
	t.Helper()
	var status api.AppStatus
	eventually(t, later, func() error {
		var err error
		if status, err = p.Control.App(t.Context(), p.app); err != nil {
			return err
		}
		if status.Running != instances || len(status.Instances) != instances {
			return fmt.Errorf("%d instances are to run: %+v", instances, status)
		}
		return nil
	})
	return status.Instances
}

// nodeOf is the node that an instance is on, and the other one.
func (p *pair) nodeOf(t *testing.T, instance api.InstanceStatus) (here, elsewhere *stack.Own) {
	t.Helper()
	at := slices.IndexFunc(p.nodes, func(o *stack.Own) bool { return o.ID == instance.Node })
	require.GreaterOrEqual(t, at, 0)
	return p.nodes[at], p.nodes[1-at]
}

// workerEnds waits for the worker to end by itself.
func workerEnds(t *testing.T, node *stack.Own) {
	t.Helper()
	select {
	case <-node.WorkerEnded():
	case <-time.After(later):
		require.Fail(t, "the worker does not end", node.Tail())
	}
}

func serves(ctx context.Context, instance api.InstanceStatus) error {
	code, _, err := stack.Get(ctx, "http://"+instance.Address)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("instance %s answers %d", instance.InstanceID, code)
	}
	return err
}

// state waits until a node is in a state.
func (p *pair) state(t *testing.T, node *stack.Own, want api.NodeState) {
	t.Helper()
	eventually(t, later, func() error {
		status, err := p.Control.Node(t.Context(), node.ID)
		if err == nil && status.State != want {
			err = fmt.Errorf("node %s is %s", node.ID, status.State)
		}
		return err
	})
}

// TestTerminatedWorkerLeavesItsInstances: they serve on, and the next worker resumes them.
func TestTerminatedWorkerLeavesItsInstances(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, stack.OwnOptions{})
	instance := p.runs(t, 1)[0]
	node, _ := p.nodeOf(t, instance)
	require.NoError(t, node.SignalWorker(syscall.SIGTERM))
	workerEnds(t, node)
	require.NoError(t, serves(t.Context(), instance))
	require.NoError(t, node.StartWorker(t.Context()))
	ready(t, node)
	require.NoError(t, serves(t.Context(), instance))
	require.Equal(t, instance.InstanceID, p.runs(t, 1)[0].InstanceID)
	eventually(t, later, func() error {
		status, err := p.Control.Instance(t.Context(), instance.InstanceID)
		if err != nil {
			return err
		}
		var states []api.InstanceState
		for _, change := range status.Changes {
			states = append(states, change.State)
		}
		want := []api.InstanceState{api.StateBorn, api.StateStarting, api.StateRunning, api.StateResuming, api.StateRunning}
		if !slices.Equal(states, want) {
			return fmt.Errorf("it was %v", states)
		}
		return nil
	})
}

// TestWorkerThatStopsAll: by QUIT, or by TERM with --on-stop=stop. The app's instances are started elsewhere.
func TestWorkerThatStopsAll(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]struct {
		signal syscall.Signal
		flags  []string
	}{
		"QUIT":         {syscall.SIGQUIT, nil},
		"on-stop=stop": {syscall.SIGTERM, []string{"--on-stop=stop"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, 1, stack.OwnOptions{WorkerFlags: how.flags})
			instance := p.runs(t, 1)[0]
			node, other := p.nodeOf(t, instance)
			require.NoError(t, node.SignalWorker(how.signal))
			workerEnds(t, node)
			assert.NoDirExists(t, node.Container(instance.InstanceID))
			require.Error(t, serves(t.Context(), instance))
			status, err := p.Control.Instance(t.Context(), instance.InstanceID)
			require.NoError(t, err)
			assert.Equal(t, api.StateDeleted, status.State)
			assert.Equal(t, api.ExitStopped, status.Exit.Description)
			assert.Equal(t, other.ID, p.runs(t, 1)[0].Node)

			require.NoError(t, node.StartWorker(t.Context()))
			p.state(t, node, api.NodeReady)
		})
	}
}

// TestWorkerThatTakesNoNewWork: after USR1 nothing is placed on the node until its next worker; what it has stays.
func TestWorkerThatTakesNoNewWork(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, stack.OwnOptions{})
	instance := p.runs(t, 1)[0]
	node, other := p.nodeOf(t, instance)
	require.NoError(t, node.SignalWorker(syscall.SIGUSR1))
	p.state(t, node, api.NodeDraining)
	_, err := p.Control.Scale(t.Context(), p.app, 3)
	require.NoError(t, err)
	for _, i := range p.runs(t, 3) {
		if i.InstanceID != instance.InstanceID {
			assert.Equal(t, other.ID, i.Node)
		}
	}
	require.NoError(t, serves(t.Context(), instance))
	require.NoError(t, node.SignalWorker(syscall.SIGTERM))
	workerEnds(t, node)
	require.NoError(t, node.StartWorker(t.Context()))
	p.state(t, node, api.NodeReady)
}

// TestEvacuation: after USR2 the app is served all the while, first by the old instances, then by those elsewhere; then the
// worker ends by itself.
func TestEvacuation(t *testing.T) {
	t.Parallel()
	p := newPair(t, 2, stack.OwnOptions{})
	before := p.runs(t, 2)
	node, other := p.nodeOf(t, before[0])
	require.NoError(t, node.SignalWorker(syscall.SIGUSR2))
	eventually(t, later, func() error {
		status, err := p.Control.App(t.Context(), p.app)
		if err != nil {
			return err
		}
		served := map[int]bool{}
		for _, i := range status.Instances {
			living := i.State == api.StateRunning || i.State == api.StateEvacuating
			served[i.Index] = served[i.Index] || living
			if i.Node == node.ID {
				err = fmt.Errorf("instance %s is still %s on the evacuated node", i.InstanceID, i.State)
			}
		}
		require.True(t, served[0] && served[1], "each index has one that runs, at any time: %+v", status.Instances)
		return err
	})
	workerEnds(t, node)
	for _, i := range p.runs(t, 2) {
		assert.Equal(t, other.ID, i.Node)
		require.NoError(t, serves(t.Context(), i))
	}
	require.NoError(t, node.InUse(t.Context()))
	require.NoError(t, node.StartWorker(t.Context()))
	p.state(t, node, api.NodeReady)
}

// TestEvacuationWithoutRoomElsewhere: nothing replaces the instances, and they end at the bail-out.
func TestEvacuationWithoutRoomElsewhere(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1, stack.OwnOptions{Keys: map[string]any{"evacuation_bail_out_time_in_seconds": 5}})
	instance := p.runs(t, 1)[0]
	node, other := p.nodeOf(t, instance)
	_, err := p.Control.Drain(t.Context(), other.ID)
	require.NoError(t, err)
	require.NoError(t, node.SignalWorker(syscall.SIGUSR2))
	eventually(t, later, func() error {
		status, err := p.Control.Instance(t.Context(), instance.InstanceID)
		if err == nil && status.State != api.StateEvacuating {
			err = fmt.Errorf("it is %s", status.State)
		}
		return err
	})
	require.NoError(t, serves(t.Context(), instance), "it runs on while there is hope")
	workerEnds(t, node)
	require.NoError(t, node.InUse(t.Context()))
	eventually(t, later, func() error {
		status, err := p.Control.App(t.Context(), p.app)
		if err == nil && (status.Running != 0 || status.Problem == "") {
			err = fmt.Errorf("it says nothing of what it lacks: %+v", status)
		}
		return err
	})
	_, err = p.Control.Undrain(t.Context(), other.ID)
	require.NoError(t, err)
	assert.Equal(t, other.ID, p.runs(t, 1)[0].Node)
}
