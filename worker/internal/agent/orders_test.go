package agent

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
)

// evacuated stands for the workflows of a node that is evacuated, and of its instances.
type evacuated struct {
	client.Client

	mu   sync.Mutex
	held []api.Reservation
	// begun are the instances whose workflow is there, told what those were told, in order.
	begun map[string]bool
	told  []string
	// evacuations are how often the node itself was asked.
	evacuations int
}

func (e *evacuated) QueryWorkflow(context.Context, string, string, string, ...any) (converter.EncodedValue, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	data, err := converter.GetDefaultDataConverter().ToPayloads(api.NodeStatus{Reservations: e.held})
	return client.NewValue(data), err
}

func (e *evacuated) SignalWorkflow(_ context.Context, id, _, _ string, value any) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.begun[id] {
		return serviceerror.NewNotFound("no such workflow")
	}
	if _, ok := value.(api.EvacuateInstance); !ok {
		return errors.New("nobody is told that")
	}
	e.told = append(e.told, id)
	return nil
}

func (e *evacuated) UpdateWorkflow(context.Context, client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.evacuations++
	return done{}, nil
}

// done is an update that is through.
type done struct{ client.WorkflowUpdateHandle }

func (done) Get(context.Context, any) error { return nil }

// TestInstanceThatBeginsLateIsToldOfTheEvacuation: by then the node's ledger has given up telling it.
func TestInstanceThatBeginsLateIsToldOfTheEvacuation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &evacuated{begun: map[string]bool{"early": true}, held: []api.Reservation{
			{ID: "e", Kind: api.KindInstance, Workflow: "early"},
			{ID: "l", Kind: api.KindInstance, Workflow: "late"},
			{ID: "s", Kind: api.KindStaging, Workflow: "staging"},
		}}
		a := &agent{
			id: "n", temporal: e, log: hclog.NewNullLogger(), node: &config.Node{EvacuationBailOut: 10 * time.Minute},
		}
		var evacuating sync.WaitGroup
		evacuating.Go(func() { a.evacuate(t.Context()) })
		then := func(after time.Duration, told ...string) {
			time.Sleep(after)
			synctest.Wait()
			e.mu.Lock()
			defer e.mu.Unlock()
			require.Equal(t, told, e.told)
		}
		then(straggle/2, []string(nil)...)
		then(straggle, "early")
		then(time.Minute, "early")
		e.mu.Lock()
		e.begun["late"] = true
		e.mu.Unlock()
		then(2*straggle, "early", "late")
		then(time.Minute, "early", "late")
		e.mu.Lock()
		e.held = nil
		e.mu.Unlock()
		evacuating.Wait()
		require.Equal(t, 1, e.evacuations)
	})
}
