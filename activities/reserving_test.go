package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/durable-dea/dea/api"
)

// updates stands for what Temporal does with updates of a ledger, of which the order and the faults matter here; the
// ledger itself is in the integration tests. Each update is held until it is let go.
type updates struct {
	arrived chan *update
	mu      sync.Mutex
	ids     []string
	freed   []string
}

type update struct {
	client.WorkflowUpdateHandle
	id      string
	request api.ReserveRequest
	// finish is given the error to fail with.
	finish chan error
}

func newUpdates() *updates { return &updates{arrived: make(chan *update)} }

func (u *updates) UpdateWorkflow(ctx context.Context, o client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error) {
	request, ok := o.Args[0].(api.ReserveRequest)
	if !ok {
		return nil, errors.New("not a request")
	}
	got := &update{id: o.UpdateID, request: request, finish: make(chan error, 1)}
	u.mu.Lock()
	u.ids = append(u.ids, o.UpdateID)
	u.mu.Unlock()
	u.arrived <- got
	select {
	case err := <-got.finish:
		return got, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Get accepts ids that begin with "yes" and refuses the others.
func (u *update) Get(_ context.Context, into any) error {
	result := api.ReserveResult{Host: "h", Refused: map[string]api.Constraint{}}
	for _, r := range u.request.Reservations {
		if r.ID[:3] == "yes" {
			result.Accepted = append(result.Accepted, r.ID)
		} else {
			result.Refused[r.ID] = api.ConstraintDisk
		}
	}
	*into.(*api.ReserveResult) = result
	return nil
}

func (u *updates) SignalWorkflow(_ context.Context, _, _, _ string, arg any) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.freed = append(u.freed, arg.(api.ReleaseRequest).IDs...)
	return nil
}

func (u *update) asked() []string {
	var ids []string
	for _, r := range u.request.Reservations {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids
}

type said struct {
	result api.ReserveResult
	err    error
}

// wants asks node n for room, and returns when the request is on its way or waits.
func wants(ctx context.Context, t *testing.T, r *reserving, waiting int, ids ...string) chan said {
	t.Helper()
	var reservations []api.Reservation
	for _, id := range ids {
		reservations = append(reservations, api.Reservation{ID: id})
	}
	answer := make(chan said, 1)
	go func() {
		result, err := r.reserve(ctx, "n", reservations)
		answer <- said{result, err}
	}()
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		queue, busy := r.waiting["n"]
		return busy && len(queue) == waiting
	}, 10*time.Second, time.Millisecond)
	return answer
}

func TestRequestsOfOneNodeGoOutTogether(t *testing.T) {
	u := newUpdates()
	r := newReserving(u, hclog.NewNullLogger())
	first := wants(t.Context(), t, r, 0, "yes-1")
	one := <-u.arrived
	require.Equal(t, []string{"yes-1"}, one.asked(), "an idle node is asked at once")

	second := wants(t.Context(), t, r, 1, "yes-2", "no-2")
	third := wants(t.Context(), t, r, 2, "no-3")
	same := wants(t.Context(), t, r, 3, "yes-2")
	one.finish <- nil
	require.Equal(t, []string{"yes-1"}, (<-first).result.Accepted)

	two := <-u.arrived
	require.Equal(t, []string{"no-2", "no-3", "yes-2"}, two.asked(), "an id stands in an update once")
	two.finish <- nil
	got := <-second
	require.NoError(t, got.err)
	require.Equal(t, []string{"yes-2"}, got.result.Accepted)
	require.Equal(t, map[string]api.Constraint{"no-2": api.ConstraintDisk}, got.result.Refused)
	require.Equal(t, "h", got.result.Host)
	got = <-third
	require.Empty(t, got.result.Accepted)
	require.Equal(t, map[string]api.Constraint{"no-3": api.ConstraintDisk}, got.result.Refused)

	three := <-u.arrived
	three.finish <- nil
	require.Equal(t, []string{"yes-2"}, (<-same).result.Accepted)
	idle(t, r)
	require.Empty(t, u.freed)
}

func idle(t *testing.T, r *reserving) {
	t.Helper()
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.waiting) == 0
	}, 10*time.Second, time.Millisecond)
}

func TestAnUpdateHasABoundNumberOfReservations(t *testing.T) {
	u := newUpdates()
	r := newReserving(u, hclog.NewNullLogger())
	many := func(name string, n int) []string {
		var ids []string
		for i := range n {
			ids = append(ids, fmt.Sprint("yes-", name, i))
		}
		return ids
	}
	first := wants(t.Context(), t, r, 0, "yes-0")
	one := <-u.arrived
	a := wants(t.Context(), t, r, 1, many("a", 300)...)
	b := wants(t.Context(), t, r, 2, many("b", 201)...)
	c := wants(t.Context(), t, r, 3, "yes-c")
	one.finish <- nil
	<-first
	two := <-u.arrived
	require.Len(t, two.request.Reservations, 300)
	two.finish <- nil
	require.Len(t, (<-a).result.Accepted, 300)
	three := <-u.arrived
	require.Len(t, three.request.Reservations, 202, "in the order of arrival")
	three.finish <- nil
	require.Len(t, (<-b).result.Accepted, 201)
	require.Len(t, (<-c).result.Accepted, 1)
	idle(t, r)
}

func TestAServerThatTakesNoMoreUpdatesIsAskedAgainUnderTheSameID(t *testing.T) {
	u := newUpdates()
	r := newReserving(u, hclog.NewNullLogger())
	answer := wants(t.Context(), t, r, 0, "yes-1")
	(<-u.arrived).finish <- &serviceerror.ResourceExhausted{Message: "too many in flight"}
	(<-u.arrived).finish <- serviceerror.NewFailedPrecondition("too many in the run")
	(<-u.arrived).finish <- nil
	got := <-answer
	require.NoError(t, got.err)
	require.Equal(t, []string{"yes-1"}, got.result.Accepted)
	require.Len(t, slices.Compact(u.ids), 1)
	require.Len(t, u.ids, 3)
	require.NotEmpty(t, u.ids[0])
	require.Empty(t, u.freed)
	idle(t, r)
}

func TestWhatMayBeBookedIsTakenBackBeforeTheAnswer(t *testing.T) {
	u := newUpdates()
	r := newReserving(u, hclog.NewNullLogger())
	first := wants(t.Context(), t, r, 0, "yes-1")
	broken := errors.New("nobody knows")
	(<-u.arrived).finish <- broken
	require.ErrorIs(t, (<-first).err, broken)
	u.mu.Lock()
	defer u.mu.Unlock()
	require.Equal(t, []string{"yes-1"}, u.freed)
	idle(t, r)
}

func TestACallerThatLeavesDisturbsNobody(t *testing.T) {
	u := newUpdates()
	r := newReserving(u, hclog.NewNullLogger())
	ctx, leave := context.WithCancel(t.Context())
	first := wants(ctx, t, r, 0, "yes-1")
	one := <-u.arrived
	second := wants(ctx, t, r, 1, "yes-2")
	third := wants(t.Context(), t, r, 2, "yes-3")
	leave()
	require.ErrorIs(t, (<-first).err, context.Canceled)
	require.ErrorIs(t, (<-second).err, context.Canceled)
	one.finish <- nil
	two := <-u.arrived
	require.Equal(t, []string{"yes-3"}, two.asked(), "nobody waits for the second")
	two.finish <- nil
	require.NoError(t, (<-third).err)
	require.Empty(t, u.freed, "what was sent for the first stays booked, for its retry")
	idle(t, r)
}
