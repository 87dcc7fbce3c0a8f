package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/workspace"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// Between two tries of something that must come to pass.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = time.Second
)

// Temporal is the part of a Temporal client that the supervisor speaks by.
type Temporal interface {
	api.Signaller
	api.Querier
	DescribeWorkflow(ctx context.Context, workflowID, runID string) (*client.WorkflowExecutionDescription, error)
}

// Deps is what a Supervisor works with.
type Deps struct {
	// Node is the id of the node.
	Node       string
	Warden     *warden.Client
	Temporal   Temporal
	Workspaces *workspace.Store
	// LogLifetime is how long the logs of stagings that are over are kept.
	LogLifetime time.Duration
	Log         hclog.Logger
}

// Supervisor watches over one node. It is made once in a worker, and closed at its end.
type Supervisor struct {
	node       string
	warden     *warden.Client
	temporal   Temporal
	workspaces *workspace.Store
	logs       time.Duration
	log        hclog.Logger

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	watches map[string]*Watch
	lease   *Lease

	// reaping is held by the one Reap that is at work; it guards seen.
	reaping sync.Mutex
	// seen are the containers without an owner, and the reservations without a container, at the last look.
	seen sightings
}

// New makes a supervisor that watches nothing yet.
func New(deps Deps) *Supervisor {
	ctx, cancel := context.WithCancel(context.Background())
	return &Supervisor{
		node: deps.Node, warden: deps.Warden, temporal: deps.Temporal, workspaces: deps.Workspaces,
		logs: deps.LogLifetime, log: deps.Log.Named("supervisor"),
		ctx: ctx, cancel: cancel, watches: map[string]*Watch{},
	}
}

// Close ends every watch and waits for them. Containers and jobs go on.
func (s *Supervisor) Close() {
	s.cancel()
	s.running.Wait()
}

// Lease is the right to compare the node with its ledger. There is one at a time.
type Lease struct{ lost chan struct{} }

// Lost is closed when somebody newer has taken the lease.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Take takes the lease from whoever has it.
func (s *Supervisor) Take() *Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease != nil {
		close(s.lease.lost)
	}
	s.lease = &Lease{lost: make(chan struct{})}
	return s.lease
}

// Resume links again to every instance that the ledger names. One whose container or job is no longer there has its
// workflow told, if that believes it to be running: while it starts, LaunchInstance finds out for itself.
func (s *Supervisor) Resume(ctx context.Context, ledger api.NodeStatus) error {
	var failed []error
	for _, r := range ledger.Reservations {
		if r.Kind != api.KindInstance || s.Watched(r.ID) != nil {
			continue
		}
		if err := s.resume(ctx, r); err != nil {
			failed = append(failed, fmt.Errorf("resume %s: %w", r.ID, err))
		}
	}
	return errors.Join(failed...)
}

func (s *Supervisor) resume(ctx context.Context, r api.Reservation) error {
	info, err := s.warden.Info(ctx, &wardenpb.InfoRequest{Handle: proto.String(r.ID)})
	if err != nil && !errors.Is(err, warden.ErrUnknownHandle) {
		return err
	}
	job, launched := Launched(info)
	if !launched && len(info.GetJobIds()) > 0 {
		return nil // It is about to be launched.
	}
	if job != 0 {
		s.Watch(r.ID, job)
		s.Report(r.ID)
		s.log.Info("instance found again", "instance", r.ID, "app", r.AppID, "index", r.Index)
		return nil
	}
	status, err := api.QueryInstance.Ask(ctx, s.temporal, r.Workflow)
	if isNotFound(err) {
		return nil // Reap gives the reservation back.
	}
	if err != nil {
		return fmt.Errorf("ask for its state: %w", err)
	}
	if status.State != api.StateRunning && status.State != api.StateEvacuating {
		return nil
	}
	s.log.Warn("instance ended while no worker looked", "instance", r.ID, "app", r.AppID, "index", r.Index)
	exit, err := s.ExitOnRecord(ctx, r.ID)
	if err != nil {
		return err
	}
	s.tell(ctx, r.ID, exit)
	return nil
}

// tell signals an instance's end until it is heard, there is nobody to hear it, or ctx ends.
func (s *Supervisor) tell(ctx context.Context, instance string, exit api.InstanceExit) {
	s.insist(ctx, instance, func() error {
		err := api.SignalInstanceExited.Send(ctx, s.temporal, api.InstanceWorkflowID(instance), exit)
		if err == nil {
			s.log.Info("instance ended", "instance", instance, "status", exit.Status, "description", exit.Description)
		}
		if isNotFound(err) {
			return nil
		}
		return err
	})
}

func isNotFound(err error) bool {
	var notFound *serviceerror.NotFound
	return errors.As(err, &notFound)
}
