package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/integration/internal/stack"
)

// field is a devserver without nodes, a gate in front of its cloud controller, and nodes of the test's own behind that.
type field struct {
	*stack.Stack
	gate  *gate
	nodes []*stack.Own
	// free hands out the nodes, one staging each.
	free chan *stack.Own
}

// newField starts so many nodes; take and ready wait for one. Nothing of them may be left at the test's end.
func newField(t *testing.T, nodes int, options stack.OwnOptions) *field {
	t.Helper()
	started, err := stack.Start(t.Context(), stack.Options{Nodes: -1})
	require.NoError(t, err)
	f := &field{Stack: started, free: make(chan *stack.Own, nodes)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(f.Warnings())
		}
		assert.NoError(t, f.Stop())
	})
	f.gate = newGate(t, started)
	for number := range nodes {
		options.CloudController = f.gate.through(fmt.Sprintf("/from/%d", number+1), "")
		node, err := f.StartOwn(t.Context(), options)
		require.NoError(t, err)
		f.nodes = append(f.nodes, node)
		f.free <- node
	}
	return f
}

func ready(t *testing.T, node *stack.Own) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	require.NoError(t, node.Ready(ctx))
}

// take gives a node that nothing is staged on, until the test is over.
func (f *field) take(t *testing.T) *stack.Own {
	t.Helper()
	node := <-f.free
	t.Cleanup(func() { f.free <- node })
	ready(t, node)
	return node
}

// fault is a death and what is done about it.
type fault struct {
	strike func(node *stack.Own) error
	mend   func(ctx context.Context, node *stack.Own) error
}

func workerDies() fault {
	return fault{
		strike: (*stack.Own).KillWorker,
		mend:   func(ctx context.Context, node *stack.Own) error { return node.StartWorker(ctx) },
	}
}

func wardendDies() fault {
	return fault{
		strike: (*stack.Own).KillWardend,
		mend:   func(ctx context.Context, node *stack.Own) error { return node.StartWardend(ctx) },
	}
}

func bothDie() fault {
	return fault{
		strike: func(node *stack.Own) error { return errors.Join(node.KillWorker(), node.KillWardend()) },
		mend: func(ctx context.Context, node *stack.Own) error {
			return errors.Join(node.StartWardend(ctx), node.StartWorker(ctx))
		},
	}
}

// TestDeathsDuringStaging kills what a staging runs on at each of its steps, and starts it again. The staging goes on
// where it was, to the same end as if nothing had been.
func TestDeathsDuringStaging(t *testing.T) {
	t.Parallel()
	f := newField(t, 8, stack.OwnOptions{})
	t.Run("all", func(t *testing.T) { // ends when all that is in it has
		for _, s := range steps() {
			f.survives(t, "worker/"+s.name, s, workerDies())
		}
		for _, s := range stepsNamed("fetching the package", "compile", "packing", "uploading the droplet") {
			f.survives(t, "wardend/"+s.name, s, wardendDies())
			f.survives(t, "both/"+s.name, s, bothDie())
		}
	})
	eventually(t, soon, f.UploadsByHalf)
}

func (f *field) survives(t *testing.T, name string, s step, deadly fault) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		r := newTrial(t, f.gate, f.Stack, f.take(t))
		s.shape(t, r)
		r.begin(t)
		s.reach(t, r)
		var container os.FileInfo
		if s.stands {
			container = r.container(t)
		}
		require.NoError(t, deadly.strike(r.node))
		require.NoError(t, deadly.mend(t.Context(), r.node))
		if s.stands {
			assert.True(t, os.SameFile(container, r.container(t)), "the container is to stay")
		}
		r.open(t)
		r.succeeds(t)
		if s.check != nil {
			s.check(t, r)
		}
		r.leavesNothing(t)
		checkLog(t, r.keptLog(t))
	})
}

// TestDeathsOfTheOnlyWorker kills the only worker that there is while what any worker may do is to be done.
func TestDeathsOfTheOnlyWorker(t *testing.T) {
	t.Parallel()
	f := newField(t, 1, stack.OwnOptions{MemoryMB: 4096, DiskMB: 8192})
	node := f.nodes[0]
	ready(t, node)
	t.Run("before it is placed", func(t *testing.T) {
		r := newTrial(t, f.gate, f.Stack, node)
		r.prepare(t)
		require.NoError(t, node.KillWorker())
		asked := make(chan error, 1)
		go func() {
			var err error
			r.staging, err = f.Control.Stage(t.Context(), r.request)
			asked <- err
		}()
		require.NoError(t, node.StartWorker(t.Context()))
		require.NoError(t, <-asked)
		r.succeeds(t)
		r.leavesNothing(t)
	})
	ready(t, node)
	t.Run("reporting", func(t *testing.T) {
		r := newTrial(t, f.gate, f.Stack, node)
		told := r.stop(before, http.MethodPost, r.callbackPath())
		r.begin(t)
		r.awaitHold(t, told)
		require.NoError(t, node.KillWorker())
		require.NoError(t, node.StartWorker(t.Context()))
		r.open(t)
		r.succeeds(t)
		assert.GreaterOrEqual(t, len(f.gate.came(http.MethodPost, r.callbackPath())), 2, "who was killed told nobody")
		r.leavesNothing(t)
	})
}
