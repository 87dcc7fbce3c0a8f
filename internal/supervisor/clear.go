package supervisor

import (
	"context"
	"errors"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/warden"
)

// ErrLeaseLost is the error of Clear for who does not hold the lease any more.
var ErrLeaseLost = errors.New("somebody newer has taken the lease")

// Clear takes down every container that no reservation of the ledger names. It is for a node
// that was lost or forgotten: its reservations were dropped, and its memory is given out anew as soon as it is advertised. Until then
// nothing is booked there, so that one look is enough, other than for Reap.
//
// It fails when Warden or Temporal is away, and is to be called again then; with ErrLeaseLost when the lease is lost, as
// the ledger is older then than what the new lease may have let in; and when ctx ends. A container that Warden refuses to
// destroy is left to Reap. Run twice it finds what the first run left.
func (s *Supervisor) Clear(ctx context.Context, lease *Lease, ledger api.NodeStatus) error {
	s.reaping.Lock() // Whoever has the new lease waits here until this one is through.
	defer s.reaping.Unlock()
	if lease.isLost() {
		return ErrLeaseLost
	}
	orphans, err := s.orphans(ctx, ledger)
	if err != nil {
		return err
	}
	var failed []error
	for handle, err := range s.destroyAll(ctx, orphans, api.ExitNodeLost) {
		var refused *warden.Error
		if errors.As(err, &refused) {
			s.log.Error("a container of the lost node stays", "handle", handle, "error", err)
			continue
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
