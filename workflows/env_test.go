package workflows_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/workflows"
)

// world is the SDK's test environment with every workflow of ours, and activities that say what a test lets them.
type world struct {
	*testsuite.TestWorkflowEnvironment
	t *testing.T

	mu sync.Mutex
	// signals are those that left the workflow under test, by the id they went to and the signal's name.
	signals map[string][]any
	// calls are the names of the activities that ran, in order.
	calls []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := emptyWorld(t)
	workflows.Register(w)
	return w
}

func emptyWorld(t *testing.T) *world {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	return &world{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t, signals: map[string][]any{}}
}

// alone keeps the signals that leave the workflow under test, which is the only one there is.
func (w *world) alone() *world {
	w.OnSignalExternalWorkflow(mock.Anything, mock.Anything, mock.Anything, mock.Anything, mock.Anything).Return(
		func(_, id, _, name string, value any) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.signals[id+" "+name] = append(w.signals[id+" "+name], value)
			return nil
		}).Maybe()
	return w
}

func (w *world) sent(id, name string) []any {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.signals[id+" "+name]
}

// heardAt has the signals to a workflow fail up to the n-th, as if it had not begun yet, and counts them.
func (w *world) heardAt(id string, n int) *int {
	tries := new(int)
	w.OnSignalExternalWorkflow(mock.Anything, id, mock.Anything, mock.Anything, mock.Anything).Return(
		func(_, _, _, _ string, _ any) error {
			if *tries++; *tries < n {
				return errors.New("not begun yet")
			}
			return nil
		})
	return tries
}

// suggestWithNext has Temporal suggest to continue as new in the same task that brings what is sent next.
func (w *world) suggestWithNext() {
	w.RegisterDelayedCallback(func() { w.SetContinueAsNewSuggested(true) }, 0)
}

// sentOf are the values that a signal carried to a workflow.
func sentOf[T any](w *world, id string, signal api.Signal[T]) []T {
	var values []T
	for _, v := range w.sent(id, signal.Name()) {
		value, ok := v.(T)
		require.True(w.t, ok, "signal %s carried a %T", signal.Name(), v)
		values = append(values, value)
	}
	return values
}

// does lets an activity do what a test says.
func does[In, Out any](w *world, a activities.Activity[In, Out], do func(context.Context, In) (Out, error)) {
	w.RegisterActivityWithOptions(func(ctx context.Context, in In) (Out, error) {
		w.mu.Lock()
		w.calls = append(w.calls, a.Name())
		w.mu.Unlock()
		return do(ctx, in)
	}, activity.RegisterOptions{Name: a.Name()})
}

// works lets an activity succeed with a result.
func works[In, Out any](w *world, a activities.Activity[In, Out], out Out) {
	does(w, a, func(context.Context, In) (Out, error) { return out, nil })
}

func (w *world) called() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.calls...)
}

const (
	aNode = "0-node"
	aSHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
)

func aMessage() api.StartMessage {
	return api.StartMessage{
		AppID: "hello", Version: "v1", Name: "hello", URIs: []string{"hello.localhost"}, SHA1: aSHA1,
		ExecutableURI: "http://cc.localhost/droplet", Stack: "host",
		Limits: api.Limits{MemoryMB: 64, DiskMB: 128, FDs: 1024},
	}
}

type workflowContext = workflow.Context

var (
	anyContext  = mock.Anything
	anyInstance = mock.Anything
)

func startOptions(id string) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{ID: id, TaskQueue: api.TaskQueue}
}
