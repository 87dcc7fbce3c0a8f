package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/safename"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// sightings are what looked out of place at one look, and since when each look has seen it so: Warden's list, the disk and
// the ledger are never of one moment, so only what is seen at two looks in a row is acted on. Looks may follow one another
// at once, as when the lease changes hands: the first sighting must also be orphanAge old.
type sightings struct{ containers, reservations, workspaces map[string]time.Time }

func newSightings() sightings {
	return sightings{
		containers: map[string]time.Time{}, reservations: map[string]time.Time{}, workspaces: map[string]time.Time{},
	}
}

// due tells whether what is seen now was seen for long enough; else it notes the sighting.
func (s *Supervisor) due(seen, now map[string]time.Time, name string) bool {
	first, again := seen[name]
	if again && time.Since(first) >= s.orphanAge {
		return true
	}
	if !again {
		first = time.Now()
	}
	now[name] = first
	return false
}

// Reap takes away what nobody owns, each at its second sighting: containers and workspaces that no reservation names,
// and reservations, with their containers, whose workflow has ended or moved. Logs of stagings that are long over go
// with them. Two calls at once follow one another. It ends early when ctx does.
func (s *Supervisor) Reap(ctx context.Context, ledger api.NodeStatus) error {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	if err := ctx.Err(); err != nil {
		return err // The ledger has become old while somebody else reaped.
	}
	now := newSightings()
	err := errors.Join(
		s.reapReservations(ctx, &ledger, now),
		s.reapContainers(ctx, ledger, now),
		s.reapWorkspaces(ctx, ledger, now),
	)
	s.seen = now
	return err
}

// reapReservations gives back what is held by nobody any more, and takes it out of ledger. The containers go first: their
// room is not given out while they use it.
func (s *Supervisor) reapReservations(ctx context.Context, ledger *api.NodeStatus, now sightings) error {
	var failed []error
	due := map[string]standing{}
	for _, r := range ledger.Reservations {
		holder, err := s.standing(ctx, r.Workflow)
		switch {
		case err != nil:
			failed = append(failed, err)
		case holder.open && (holder.node == "" || holder.node == s.node):
		case s.due(s.seen.reservations, now.reservations, r.ID):
			due[r.ID] = holder
		}
	}
	stay := s.destroyAll(ctx, slices.Collect(maps.Keys(due)), api.ExitNotDetermined)
	var stale, held []api.Reservation
	for _, r := range ledger.Reservations {
		holder, isDue := due[r.ID]
		err := stay[r.ID]
		if !isDue || err != nil {
			held = append(held, r)
		}
		switch {
		case !isDue:
		case err != nil:
			now.reservations[r.ID] = s.seen.reservations[r.ID]
			failed = append(failed, err)
		default:
			if !holder.open {
				s.mourn(ctx, r)
			}
			stale = append(stale, r)
		}
	}
	ledger.Reservations = held
	for _, r := range stale {
		failed = append(failed, s.giveBack(ctx, r))
	}
	return errors.Join(failed...)
}

// giveBack releases what was booked at the time of the ledger. The id may have been booked anew since, by a placement that
// is tried again: that booking stays.
func (s *Supervisor) giveBack(ctx context.Context, r api.Reservation) error {
	s.log.Warn("giving back a reservation that nobody holds", "id", r.ID)
	for _, release := range r.Releases() {
		if err := api.SignalRelease.Send(ctx, s.temporal, api.NodeWorkflowID(s.node), release); err != nil {
			return fmt.Errorf("release: %w", err)
		}
	}
	return nil
}

// mourn tells the owner of an instance that its workflow ended without a word, as one that is terminated does.
func (s *Supervisor) mourn(ctx context.Context, r api.Reservation) {
	if r.Owner == "" {
		return
	}
	err := s.TellOwner(ctx, r.Owner, api.InstanceStatus{
		InstanceID: r.ID, AppID: r.AppID, Index: r.Index, Node: s.node, State: api.StateDeleted, Since: time.Now(),
		Exit: &api.InstanceExit{Status: unknownStatus, Description: api.ExitNotDetermined},
	})
	if err != nil {
		s.log.Warn("the owner of an instance that is gone was not told", "instance", r.ID, "error", err)
	}
}

func (s *Supervisor) reapContainers(ctx context.Context, ledger api.NodeStatus, now sightings) error {
	orphans, err := s.orphans(ctx, ledger)
	if err != nil {
		return err
	}
	due := slices.DeleteFunc(orphans, func(handle string) bool {
		return !s.due(s.seen.containers, now.containers, handle)
	})
	failed := []error{ctx.Err()}
	for handle, err := range s.destroyAll(ctx, due, api.ExitNotDetermined) {
		now.containers[handle] = s.seen.containers[handle]
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// orphans are the containers that no reservation of the ledger names.
func (s *Supervisor) orphans(ctx context.Context, ledger api.NodeStatus) ([]string, error) {
	list, err := s.warden.List(ctx, &wardenpb.ListRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return slices.DeleteFunc(list.GetHandles(), func(handle string) bool {
		return slices.ContainsFunc(ledger.Reservations, func(r api.Reservation) bool { return r.ID == handle })
	}), nil
}

func (s *Supervisor) reapWorkspaces(ctx context.Context, ledger api.NodeStatus, now sightings) error {
	tasks, err := s.workspaces.Leftover(func(name string) bool {
		return slices.ContainsFunc(ledger.Reservations, func(r api.Reservation) bool {
			task, staging := strings.CutPrefix(r.ID, api.StagingHandle(""))
			return staging && safename.Of(task) == name
		})
	})
	failed := []error{err, s.workspaces.PruneLogs(s.logs)}
	for _, name := range tasks {
		if ctx.Err() != nil || !s.due(s.seen.workspaces, now.workspaces, name) {
			continue
		}
		s.log.Warn("removing a workspace that nobody owns", "name", name)
		failed = append(failed, s.workspaces.RemoveLeftover(ctx, name))
	}
	return errors.Join(failed...)
}

// standing is how the workflow is that holds a reservation or a container.
type standing struct {
	// open is unset for one that has ended, or was never there.
	open bool
	// node is where it is; empty while it has none.
	node string
}

func (s *Supervisor) standing(ctx context.Context, workflow string) (standing, error) {
	answer, err := s.temporal.DescribeWorkflow(ctx, workflow, "")
	if isNotFound(err) {
		return standing{}, nil
	}
	if err != nil {
		return standing{}, fmt.Errorf("describe %s: %w", workflow, err)
	}
	node, _ := answer.TypedSearchAttributes.GetKeyword(api.SearchNode)
	return standing{open: answer.Status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, node: node}, nil
}
