package supervisor

import (
	"context"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// sightings are what looked out of place at one look: Warden's list and the ledger are never of one moment, so
// only what is seen at two looks in a row is acted on.
type sightings struct{ containers, reservations map[string]bool }

// Reap destroys containers that no reservation names and gives back reservations whose workflow has ended or moved,
// each at its second sighting. Two calls at once follow one another.
func (s *Supervisor) Reap(ctx context.Context, ledger api.NodeStatus) error {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	list, err := s.warden.List(ctx, &wardenpb.ListRequest{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	there := make(map[string]bool, len(list.GetHandles()))
	for _, handle := range list.GetHandles() {
		there[handle] = true
	}
	owned := make(map[string]bool, len(ledger.Reservations))
	for _, r := range ledger.Reservations {
		owned[r.ID] = true
	}
	now := sightings{containers: map[string]bool{}, reservations: map[string]bool{}}
	err = errors.Join(s.reapContainers(ctx, there, owned, now), s.reapReservations(ctx, ledger, there, now))
	s.seen = now
	return err
}

func (s *Supervisor) reapContainers(ctx context.Context, there, owned map[string]bool, now sightings) error {
	var failed []error
	for handle := range there {
		switch {
		case owned[handle]:
		case !s.seen.containers[handle]:
			now.containers[handle] = true
		default:
			s.log.Warn("destroying a container that nobody owns", "handle", handle)
			_, err := s.warden.Destroy(ctx, &wardenpb.DestroyRequest{Handle: proto.String(handle)})
			if err != nil && !errors.Is(err, warden.ErrUnknownHandle) {
				now.containers[handle] = true
				failed = append(failed, fmt.Errorf("destroy %s: %w", handle, err))
			}
		}
	}
	return errors.Join(failed...)
}

func (s *Supervisor) reapReservations(
	ctx context.Context, ledger api.NodeStatus, there map[string]bool, now sightings,
) error {
	var failed []error
	var stale []string
	for _, r := range ledger.Reservations {
		if there[r.ID] {
			continue
		}
		now.reservations[r.ID] = true
		if !s.seen.reservations[r.ID] {
			continue
		}
		ours, err := s.stillOurs(ctx, r)
		if err != nil {
			failed = append(failed, err)
		} else if !ours {
			stale = append(stale, r.ID)
		}
	}
	if len(stale) > 0 {
		s.log.Warn("giving back reservations that nobody holds", "ids", stale)
		id := api.NodeWorkflowID(s.node)
		if err := api.SignalRelease.Send(ctx, s.temporal, id, api.ReleaseRequest{IDs: stale}); err != nil {
			failed = append(failed, fmt.Errorf("release: %w", err))
		}
	}
	return errors.Join(failed...)
}

// stillOurs tells whether the workflow of a reservation is open and on this node.
func (s *Supervisor) stillOurs(ctx context.Context, r api.Reservation) (bool, error) {
	answer, err := s.temporal.DescribeWorkflow(ctx, r.Workflow, "")
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("describe %s: %w", r.Workflow, err)
	}
	if answer.Status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return false, nil
	}
	node, known := answer.TypedSearchAttributes.GetKeyword(api.SearchNode)
	return !known || node == s.node, nil
}
