package activities_test

import (
	"context"
	"sync"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
)

// temporalWorld stands for a Temporal server, which is too big for this module's tests: it keeps signals, and answers
// what a test lets it. The real one is in the integration tests.
type temporalWorld struct {
	mu sync.Mutex
	// exits are the ends that instances were told of, by workflow id.
	exits map[string][]api.InstanceExit
	// changes are what owners were told of their instances.
	changes []api.InstanceStatus
	// readiness is what instances were told of theirs.
	readiness []bool
	// released are the reservations that were given back.
	released []string
	// states are what workflows answer to a query, by workflow id; one without is not there.
	states map[string]api.InstanceState
	// told has one element for each signal.
	told chan struct{}
}

func newTemporalWorld() *temporalWorld {
	return &temporalWorld{
		exits: map[string][]api.InstanceExit{}, states: map[string]api.InstanceState{}, told: make(chan struct{}, 100),
	}
}

func (w *temporalWorld) SignalWorkflow(_ context.Context, id, _, _ string, arg any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch value := arg.(type) {
	case api.InstanceExit:
		if _, there := w.states[id]; !there {
			return serviceerror.NewNotFound("no such workflow")
		}
		w.exits[id] = append(w.exits[id], value)
	case api.InstanceReadiness:
		w.readiness = append(w.readiness, value.Ready)
	case api.InstanceStatus:
		w.changes = append(w.changes, value)
	case api.ReleaseRequest:
		w.released = append(w.released, value.IDs...)
	}
	w.told <- struct{}{}
	return nil
}

func (w *temporalWorld) QueryWorkflow(_ context.Context, id, _, query string, _ ...any) (converter.EncodedValue, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	state, there := w.states[id]
	if !there {
		return nil, serviceerror.NewNotFound("no such workflow")
	}
	status := api.InstanceStatus{State: state, Node: "n"}
	answer := any(status)
	if query == api.QueryRunning.Name() {
		message := api.StartMessage{}
		answer = api.RunningInstance{Status: status, Liveness: message.Liveness(), Readiness: message.Readiness()}
	}
	data, err := converter.GetDefaultDataConverter().ToPayloads(answer)
	return client.NewValue(data), err
}

func (w *temporalWorld) DescribeWorkflow(_ context.Context, id, _ string) (*client.WorkflowExecutionDescription, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	state, there := w.states[id]
	if !there {
		return nil, serviceerror.NewNotFound("no such workflow")
	}
	description := &client.WorkflowExecutionDescription{}
	description.Status = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	if state.Ended() {
		description.Status = enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	}
	return description, nil
}

func (w *temporalWorld) heard(instance string) []api.InstanceExit {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]api.InstanceExit(nil), w.exits[api.InstanceWorkflowID(instance)]...)
}

func (w *temporalWorld) is(instance string, state api.InstanceState) {
	w.isWorkflow(api.InstanceWorkflowID(instance), state)
}

func (w *temporalWorld) isWorkflow(id string, state api.InstanceState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[id] = state
}
