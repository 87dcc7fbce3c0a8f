package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// handles are the containers that are there, in order.
func (n *nodeTest) handles(t *testing.T) []string {
	t.Helper()
	list, err := n.server.Client.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	return slices.Sorted(slices.Values(list.GetHandles()))
}

// on is what the instance's workflow answers when it lives on a node.
func (a *app) on(node string) api.RunningInstance {
	running := a.running(api.StateRunning)
	running.Status.Node = node
	return running
}

// TestOrphansWorkflowIsToldBeforeItGoes: a workflow whose reservation was lost would believe for ever that its instance runs.
func TestOrphansWorkflowIsToldBeforeItGoes(t *testing.T) {
	for name, watched := range map[string]bool{"looked after": true, "left by an earlier worker": false} {
		t.Run(name, func(t *testing.T) {
			n := newNodeTest(t)
			n.start(t, "i")
			if !watched {
				n.die()
			}
			require.NoError(t, n.supervisor.Reap(t.Context(), ledger()))
			n.temporal.goes(true)
			require.Error(t, n.supervisor.Reap(t.Context(), ledger()))
			require.Equal(t, []string{"i"}, n.handles(t), "who cannot be told keeps it")
			n.temporal.goes(false)
			require.NoError(t, n.supervisor.Reap(t.Context(), ledger()))
			n.temporal.expect(t, "i", exited(-1, api.ExitNotDetermined))
			require.Empty(t, n.handles(t))
			require.Nil(t, n.supervisor.Watched("i"))
		})
	}
}

// TestOrphanIsFinishedBeforeItGoes: what it has written last is read while its container is there.
func TestOrphanIsFinishedBeforeItGoes(t *testing.T) {
	var finished []string
	n := newNodeTest(t)
	n.finish = func(_ context.Context, handle string) {
		finished = append(finished, handle)
		require.Equal(t, []string{"i"}, n.handles(t))
	}
	n.die()
	n.start(t, "i")
	for range 2 {
		require.NoError(t, n.supervisor.Reap(t.Context(), ledger()))
	}
	require.Equal(t, []string{"i"}, finished)
	require.Empty(t, n.handles(t))
}

// TestOrphansAreFinishedTogether, be it of a node that reaps or of one that was lost: each may take its time.
func TestOrphansAreFinishedTogether(t *testing.T) {
	const many = 20
	for name, end := range map[string]func(n *nodeTest) error{
		"reaped": func(n *nodeTest) error {
			return errors.Join(n.supervisor.Reap(t.Context(), ledger()), n.supervisor.Reap(t.Context(), ledger()))
		},
		"cleared": func(n *nodeTest) error { return n.supervisor.Clear(t.Context(), n.supervisor.Take(), ledger()) },
	} {
		t.Run(name, func(t *testing.T) {
			var all sync.WaitGroup
			all.Add(many)
			n := newNodeTest(t)
			n.finish = func(context.Context, string) {
				all.Done()
				together := make(chan struct{})
				go func() { all.Wait(); close(together) }()
				select {
				case <-together:
				case <-time.After(30 * time.Second):
					t.Error("one waits for the other")
				}
			}
			n.die()
			for i := range many {
				n.start(t, fmt.Sprint("i-", i))
			}
			require.NoError(t, end(n))
			require.Empty(t, n.handles(t))
		})
	}
}

func TestOrphanOfAnInstanceElsewhereIsNoNews(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	n.temporal.is("i", a.on("another"))
	for range 2 {
		require.NoError(t, n.supervisor.Reap(t.Context(), ledger()))
	}
	require.Empty(t, n.handles(t))
	require.Empty(t, n.temporal.heard("i"))
}

// TestReservationOfAnInstanceElsewhere is left of a placement that tried this node first: the instance lives on, for its
// workflow and for its app.
func TestReservationOfAnInstanceElsewhere(t *testing.T) {
	n := newNodeTest(t)
	a := &app{id: "i"}
	n.temporal.is("i", a.on("another"))
	node, owner := api.NodeWorkflowID("n"), api.AppWorkflowID("app")
	n.temporal.isThere(node, api.RunningInstance{})
	n.temporal.isThere(owner, api.RunningInstance{})
	left := ledger(a)
	left.Reservations[0].Owner = owner
	require.NoError(t, n.supervisor.Resume(t.Context(), left))
	require.Empty(t, n.temporal.heard("i"))
	for range 2 {
		require.NoError(t, n.supervisor.Reap(t.Context(), left))
	}
	require.Equal(t, []said{{node, api.SignalRelease.Name(), api.ReleaseRequest{IDs: []string{"i"}}}}, n.temporal.heardBy(node))
	require.Empty(t, n.temporal.heardBy(owner))
	require.Empty(t, n.temporal.heard("i"))
}

// TestRoomIsGivenBackAfterItsContainerIsGone, whose workflow has ended without taking it down.
func TestRoomIsGivenBackAfterItsContainerIsGone(t *testing.T) {
	n := newNodeTest(t)
	node := api.NodeWorkflowID("n")
	n.temporal.isThere(node, api.RunningInstance{})
	a := n.start(t, "i")
	n.temporal.ends("i")
	require.NoError(t, n.supervisor.Reap(t.Context(), ledger(a)))
	n.server.Kill()
	require.Error(t, n.supervisor.Reap(t.Context(), ledger(a)))
	require.Empty(t, n.temporal.heardBy(node), "it still uses the room")
	n.server.Start()
	require.NoError(t, n.supervisor.Reap(t.Context(), ledger(a)))
	require.Empty(t, n.handles(t))
	require.Equal(t, []said{{node, api.SignalRelease.Name(), api.ReleaseRequest{IDs: []string{"i"}}}}, n.temporal.heardBy(node))
}

func TestSightingsMustBeApart(t *testing.T) {
	n := newNodeTest(t)
	n.supervisor.Close()
	n.supervisor = supervisor.New(n.deps(time.Hour))
	n.start(t, "i")
	for range 3 {
		require.NoError(t, n.supervisor.Reap(t.Context(), ledger()))
	}
	require.Equal(t, []string{"i"}, n.handles(t))
	require.Empty(t, n.temporal.heard("i"))
}

func TestClearTakesWhatALostNodeHasLeft(t *testing.T) {
	n := newNodeTest(t)
	booked, lost, staging := uuid.NewString(), uuid.NewString(), api.StagingHandle("task")
	n.start(t, lost)
	kept := n.start(t, booked)
	for _, handle := range []string{staging, "an-id-of-a-caller-s-own"} {
		_, err := n.server.Client.Create(t.Context(), &wardenpb.CreateRequest{Handle: proto.String(handle)})
		require.NoError(t, err)
	}
	older := n.supervisor.Take()
	lease := n.supervisor.Take()
	require.ErrorIs(t, n.supervisor.Clear(t.Context(), older, ledger(kept)), supervisor.ErrLeaseLost)
	require.Len(t, n.handles(t), 4, "the older one's ledger is no longer true")
	n.temporal.goes(true)
	require.Error(t, n.supervisor.Clear(t.Context(), lease, ledger(kept)))
	n.temporal.goes(false)
	require.NoError(t, n.supervisor.Clear(t.Context(), lease, ledger(kept)))
	require.Equal(t, []string{booked}, n.handles(t))
	n.temporal.expect(t, lost, exited(-1, api.ExitNodeLost))
	require.Empty(t, n.temporal.heard(booked))
}
