package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/safename"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// sightings are what looked out of place at one look: Warden's list, the disk and the ledger are never of one moment,
// so only what is seen at two looks in a row is acted on.
type sightings struct{ containers, reservations, workspaces map[string]bool }

// Reap takes away what nobody owns, each at its second sighting: containers and workspaces that no reservation names,
// and reservations, with their containers, whose workflow has ended or moved. Logs of stagings that are long over go
// with them. Two calls at once follow one another.
func (s *Supervisor) Reap(ctx context.Context, ledger api.NodeStatus) error {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	now := sightings{containers: map[string]bool{}, reservations: map[string]bool{}, workspaces: map[string]bool{}}
	err := errors.Join(
		s.reapReservations(ctx, &ledger, now),
		s.reapContainers(ctx, ledger, now),
		s.reapWorkspaces(ledger, now),
	)
	s.seen = now
	return err
}

// reapReservations gives back what is held by nobody any more, and takes it out of ledger, so that what it named is an
// orphan from now on.
func (s *Supervisor) reapReservations(ctx context.Context, ledger *api.NodeStatus, now sightings) error {
	var failed []error
	var stale []string
	var held []api.Reservation
	for _, r := range ledger.Reservations {
		ours, err := s.stillOurs(ctx, r)
		switch {
		case err != nil:
			failed = append(failed, err)
		case !ours && s.seen.reservations[r.ID]:
			stale = append(stale, r.ID)
			s.mourn(ctx, r)
			continue
		case !ours:
			now.reservations[r.ID] = true
		}
		held = append(held, r)
	}
	ledger.Reservations = held
	if len(stale) > 0 {
		s.log.Warn("giving back reservations that nobody holds", "ids", stale)
		id := api.NodeWorkflowID(s.node)
		if err := api.SignalRelease.Send(ctx, s.temporal, id, api.ReleaseRequest{IDs: stale}); err != nil {
			failed = append(failed, fmt.Errorf("release: %w", err))
		}
	}
	return errors.Join(failed...)
}

// mourn tells the owner of an instance that its workflow ended without a word, as one that is terminated does.
func (s *Supervisor) mourn(ctx context.Context, r api.Reservation) {
	if r.Owner == "" {
		return
	}
	err := api.SignalInstanceChanged.Send(ctx, s.temporal, r.Owner, api.InstanceStatus{
		InstanceID: r.ID, AppID: r.AppID, Index: r.Index, Node: s.node, State: api.StateDeleted, Since: time.Now(),
		Exit: &api.InstanceExit{Status: unknownStatus, Description: api.ExitNotDetermined},
	})
	if err != nil && !isNotFound(err) {
		s.log.Warn("the owner of an instance that is gone was not told", "instance", r.ID, "error", err)
	}
}

func (s *Supervisor) reapContainers(ctx context.Context, ledger api.NodeStatus, now sightings) error {
	list, err := s.warden.List(ctx, &wardenpb.ListRequest{})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	var failed []error
	for _, handle := range list.GetHandles() {
		switch {
		case owned(ledger, handle):
		case !s.seen.containers[handle]:
			now.containers[handle] = true
		default:
			s.log.Warn("destroying a container that nobody owns", "handle", handle)
			s.Forget(handle)
			_, err := s.warden.Destroy(ctx, &wardenpb.DestroyRequest{Handle: proto.String(handle)})
			if err != nil && !errors.Is(err, warden.ErrUnknownHandle) {
				now.containers[handle] = true
				failed = append(failed, fmt.Errorf("destroy %s: %w", handle, err))
			}
		}
	}
	return errors.Join(failed...)
}

func (s *Supervisor) reapWorkspaces(ledger api.NodeStatus, now sightings) error {
	tasks, err := s.workspaces.Leftover(func(name string) bool {
		return slices.ContainsFunc(ledger.Reservations, func(r api.Reservation) bool {
			task, staging := strings.CutPrefix(r.ID, api.StagingHandle(""))
			return staging && safename.Of(task) == name
		})
	})
	failed := []error{err, s.workspaces.PruneLogs(s.logs)}
	for _, name := range tasks {
		if !s.seen.workspaces[name] {
			now.workspaces[name] = true
			continue
		}
		s.log.Warn("removing a workspace that nobody owns", "name", name)
		failed = append(failed, s.workspaces.RemoveLeftover(name))
	}
	return errors.Join(failed...)
}

func owned(ledger api.NodeStatus, handle string) bool {
	return slices.ContainsFunc(ledger.Reservations, func(r api.Reservation) bool { return r.ID == handle })
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
