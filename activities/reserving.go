package activities

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"go.temporal.io/api/serviceerror"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/pause"
)

const (
	// nodePatience is how long a request waits for its turn, and then for the node's answer. A ledger answers within
	// milliseconds.
	nodePatience = 5 * time.Second
	// maxBatch is how many reservations one update carries; one request has no more.
	maxBatch = api.MaxInstances
	// busyPause is between two tries of an update that the server has no room for; up to twice that, at random.
	busyPause = 50 * time.Millisecond
)

// errNoTurn is the answer to a request that was never sent: the node did not answer those before it in time.
var errNoTurn = errors.New("the node answers too slowly")

// teller is the part of a Temporal client that speaks to ledgers.
type teller interface {
	api.Updater
	api.Signaller
}

// reserving books room at the ledgers of nodes. Updates are dear, few of them may be in flight for a workflow and few
// thousand in one run of it: here there is one at a time for each node, and what is asked meanwhile goes out together as
// the next.
type reserving struct {
	temporal teller
	log      hclog.Logger

	mu sync.Mutex
	// waiting has a key for each node that an update is in flight to, with what has to wait for it.
	waiting map[string][]*asking
}

// asking is one request and, when done is closed, its answer.
type asking struct {
	ctx          context.Context
	reservations []api.Reservation
	until        time.Time
	done         chan struct{}
	result       api.ReserveResult
	err          error
}

func newReserving(temporal teller, log hclog.Logger) *reserving {
	return &reserving{temporal: temporal, log: log, waiting: map[string][]*asking{}}
}

// reserve asks a node for room. The reservations must be valid, since others' go with them. After an error nothing is
// booked, as far as the node could be told. When ctx ends first, what was sent already stays booked.
func (r *reserving) reserve(ctx context.Context, node string, reservations []api.Reservation) (api.ReserveResult, error) {
	a := &asking{
		ctx: ctx, reservations: reservations, until: time.Now().Add(nodePatience), done: make(chan struct{}),
	}
	r.mu.Lock()
	queue, busy := r.waiting[node]
	r.waiting[node] = append(queue, a)
	r.mu.Unlock()
	if !busy {
		go r.serve(node)
	}
	select {
	case <-a.done:
		return a.result, a.err
	case <-ctx.Done():
		return api.ReserveResult{}, ctx.Err()
	}
}

// serve sends what waits for a node until nothing does.
func (r *reserving) serve(node string) {
	for {
		batch := r.next(node)
		if len(batch) == 0 {
			return
		}
		r.send(node, batch)
	}
}

// next takes the requests that go out together, in the order of arrival. Nobody waits any more for those that it drops.
func (r *reserving) next(node string) []*asking {
	r.mu.Lock()
	defer r.mu.Unlock()
	var batch, rest []*asking
	ids := map[string]bool{}
	for _, a := range r.waiting[node] {
		switch {
		case a.ctx.Err() != nil:
		case time.Now().After(a.until):
			a.end(api.ReserveResult{}, errNoTurn)
		case len(rest) > 0 || len(batch) > 0 && !a.joins(ids):
			rest = append(rest, a)
		default:
			batch = append(batch, a)
			for _, reservation := range a.reservations {
				ids[reservation.ID] = true
			}
		}
	}
	if len(batch) == 0 {
		delete(r.waiting, node)
		return nil
	}
	r.waiting[node] = rest
	return batch
}

// joins tells whether the request may go out with those that have these ids: it fits, and its answers are told apart.
func (a *asking) joins(ids map[string]bool) bool {
	return len(ids)+len(a.reservations) <= maxBatch &&
		!slices.ContainsFunc(a.reservations, func(r api.Reservation) bool { return ids[r.ID] })
}

func (a *asking) end(result api.ReserveResult, err error) {
	a.result, a.err = result, err
	close(a.done)
}

// send makes one update of several requests and hands out the answers. It outlasts each single caller: the others wait for
// the same update.
func (r *reserving) send(node string, batch []*asking) {
	var request api.ReserveRequest
	for _, a := range batch {
		request.Reservations = append(request.Reservations, a.reservations...)
	}
	ctx := context.WithoutCancel(batch[0].ctx)
	booking := uuid.NewString()
	answer, err := r.update(ctx, node, booking, request)
	if err != nil {
		r.log.Warn("a node could not be asked, trying others", "node", node, "error", err)
		r.takeBack(ctx, node, booking, request)
	}
	for _, a := range batch {
		a.end(a.share(answer), err)
	}
}

// update sends one update, under booking as its id however often: it is carried out once. A server that takes no more of them for
// the workflow at the moment (other workers have theirs in flight, or the run has had its number and is about to continue
// as new) is no fault of the node's and is asked again. The client asks again by itself, too, but not in every case.
func (r *reserving) update(
	ctx context.Context, node, booking string, request api.ReserveRequest,
) (api.ReserveResult, error) {
	ctx, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	for {
		answer, err := api.UpdateReserve.Call(ctx, r.temporal, api.NodeWorkflowID(node), booking, request)
		if !noRoomForUpdates(err) || !pause.For(ctx, busyPause+rand.N(busyPause)) {
			return answer, err
		}
	}
}

func noRoomForUpdates(err error) bool {
	var exhausted *serviceerror.ResourceExhausted
	var tooMany *serviceerror.FailedPrecondition
	return errors.As(err, &exhausted) || errors.As(err, &tooMany)
}

// takeBack releases what a node may have booked without saying so. An update that the node has yet to take up comes after
// the signal all the same, and leaves a booking that its supervisor gives back in time. The signal names the booking, so that it can't hit what another worker has booked under the same ids meanwhile.
// The supervisor of a node that cannot be told either finds out likewise.
func (r *reserving) takeBack(ctx context.Context, node, booking string, request api.ReserveRequest) {
	release := api.ReleaseRequest{Booking: booking}
	for _, reservation := range request.Reservations {
		release.IDs = append(release.IDs, reservation.ID)
	}
	r.release(ctx, node, release)
}

func (r *reserving) release(ctx context.Context, node string, release api.ReleaseRequest) {
	ctx, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	if err := api.SignalRelease.Send(ctx, r.temporal, api.NodeWorkflowID(node), release); err != nil {
		r.log.Warn("what a node may have booked is left to its supervisor", "node", node, "error", err)
	}
}

// share is the part of an answer that is this request's.
func (a *asking) share(whole api.ReserveResult) api.ReserveResult {
	part := whole
	part.Accepted, part.Refused = nil, map[string]api.Constraint{}
	for _, reservation := range a.reservations {
		if constraint, refused := whole.Refused[reservation.ID]; refused {
			part.Refused[reservation.ID] = constraint
		} else if slices.Contains(whole.Accepted, reservation.ID) {
			part.Accepted = append(part.Accepted, reservation.ID)
		}
	}
	return part
}
