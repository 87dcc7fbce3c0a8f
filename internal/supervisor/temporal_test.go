package supervisor_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	sdk "go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/api"
)

// said is a signal that was sent.
type said struct {
	to     string
	signal string
	value  any
}

// temporal stands for a Temporal server, which is too big for this module's tests: it keeps signals, and answers what a
// test lets it. The real one is in the integration tests.
type temporal struct {
	mu   sync.Mutex
	said []said
	// running is what workflows answer, by id; one without is not there.
	running map[string]api.RunningInstance
	// away makes each request fail.
	away bool
	// slow is an instance whose workflow does not answer as long as it is set.
	slow string
	// refused counts the requests that failed so.
	refused int
}

var errAway = errors.New("no answer")

func newTemporal() *temporal { return &temporal{running: map[string]api.RunningInstance{}} }

func (w *temporal) SignalWorkflow(_ context.Context, id, _, signal string, value any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.reach(id); err != nil {
		return err
	}
	if looked, ok := value.(api.InstanceReadiness); ok {
		if looked.At.IsZero() {
			return errors.New("nobody knows when that was")
		}
		value = api.InstanceReadiness{Ready: looked.Ready}
	}
	w.said = append(w.said, said{id, signal, value})
	return nil
}

func (w *temporal) QueryWorkflow(ctx context.Context, id, _, query string, _ ...any) (converter.EncodedValue, error) {
	if w.isSlow(id) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if query != api.QueryRunning.Name() {
		return nil, errors.New("nobody answers " + query)
	}
	if err := w.reach(id); err != nil {
		return nil, err
	}
	data, err := converter.GetDefaultDataConverter().ToPayloads(w.running[id])
	return client.NewValue(data), err
}

// DescribeWorkflow has each workflow open, on the node of its instance.
func (w *temporal) DescribeWorkflow(_ context.Context, id, _ string) (*client.WorkflowExecutionDescription, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.reach(id); err != nil {
		return nil, err
	}
	description := &client.WorkflowExecutionDescription{}
	description.Status = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	if node := w.running[id].Status.Node; node != "" {
		description.TypedSearchAttributes = sdk.NewSearchAttributes(api.SearchNode.ValueSet(node))
	}
	return description, nil
}

func (w *temporal) reach(id string) error {
	if w.away {
		w.refused++
		return errAway
	}
	if _, ok := w.running[id]; !ok {
		return serviceerror.NewNotFound("no such workflow")
	}
	return nil
}

func (w *temporal) is(instance string, running api.RunningInstance) {
	w.isThere(api.InstanceWorkflowID(instance), running)
}

// isThere has a workflow be open that may be none of an instance.
func (w *temporal) isThere(id string, running api.RunningInstance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[id] = running
}

// ends has the workflow of an instance be over, and forgotten.
func (w *temporal) ends(instance string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, api.InstanceWorkflowID(instance))
}

// goes takes the server away, or brings it back.
func (w *temporal) goes(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away, w.refused = away, 0
}

func (w *temporal) isSlow(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.slow != "" && id == api.InstanceWorkflowID(w.slow)
}

// slows has the workflow of an instance not answer; of none when it is empty.
func (w *temporal) slows(instance string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow = instance
}

func (w *temporal) refusals() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

// heard is what an instance's workflow was told, in order.
func (w *temporal) heard(instance string) []said { return w.heardBy(api.InstanceWorkflowID(instance)) }

func (w *temporal) heardBy(id string) []said {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.said), func(s said) bool { return s.to != id })
}

// expect waits until the workflow was told something, and that it was just this.
func (w *temporal) expect(t *testing.T, instance string, want ...said) {
	t.Helper()
	for n := range want {
		want[n].to = api.InstanceWorkflowID(instance)
	}
	require.Eventually(t, func() bool { return len(w.heard(instance)) >= len(want) }, patience, 5*time.Millisecond)
	require.Equal(t, want, w.heard(instance))
}

// expectEnd waits for the end, whatever the workflow was told before: a job that has ended is found like one that runs
// until it is linked.
func (w *temporal) expectEnd(t *testing.T, instance string, end said) {
	t.Helper()
	end.to = api.InstanceWorkflowID(instance)
	require.Eventually(t, func() bool { return slices.Contains(w.heard(instance), end) }, patience, 5*time.Millisecond)
	heard := w.heard(instance)
	require.Equal(t, end, heard[len(heard)-1])
	require.LessOrEqual(t, len(heard), 2)
}

func exited(status int, description string) said {
	return said{signal: api.SignalInstanceExited.Name(), value: api.InstanceExit{Status: status, Description: description}}
}

func unhealthy() said {
	return said{
		signal: api.SignalInstanceUnhealthy.Name(), value: api.InstanceExit{Status: -1, Description: api.ExitUnhealthy},
	}
}

func readiness(ready bool) said {
	return said{signal: api.SignalInstanceReadiness.Name(), value: api.InstanceReadiness{Ready: ready}}
}

func resumed(found bool) said {
	return said{signal: api.SignalResumeInstance.Name(), value: api.ResumeInstance{Found: found}}
}
