package supervisor

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/healthcheck"
	"github.com/durable-dea/dea/internal/workspace"
	"github.com/durable-dea/dea/warden"
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
	// OrphanAge is how long Reap must have seen something without an owner before it takes it away, 0 for no longer than from
	// one look to the next. It is to be shorter than the time between two regular looks, or their second one takes nothing.
	OrphanAge time.Duration
	// Watchers hear what becomes of instances.
	Watchers []Watcher
	// Finish, where it is not nil, is called before a container that nobody owns is destroyed, with its handle: the last that
	// an instance in it has written may still be wanted. It is to be bounded.
	Finish func(ctx context.Context, handle string)
	Log    hclog.Logger
}

// Supervisor watches over one node. It is made once in a worker, and closed at its end.
type Supervisor struct {
	node       string
	warden     *warden.Client
	temporal   Temporal
	workspaces *workspace.Store
	logs       time.Duration
	orphanAge  time.Duration
	watchers   []Watcher
	finish     func(context.Context, string)
	log        hclog.Logger

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	checks *healthcheck.Scheduler
	// came holds one when instances have come.
	came chan struct{}
	// resumers has an element for each search that looks right now.
	resumers chan struct{}

	// mu guards what follows. Who holds it may take a Watch's lock, or call checks.
	mu      sync.Mutex
	watches map[string]*Watch
	// searches are for instances that are not found yet.
	searches map[string]*search
	lease    *Lease
	// resumed is set once Resume knows whom to look for.
	resumed bool

	// reaping is held by the one Reap that is at work; it guards seen.
	reaping sync.Mutex
	// seen are what had no owner, or no holder, at the last look.
	seen sightings
}

// New makes a supervisor that watches nothing yet. It is to be closed.
func New(deps Deps) *Supervisor {
	ctx, cancel := context.WithCancel(context.Background())
	return &Supervisor{
		node: deps.Node, warden: deps.Warden, temporal: deps.Temporal, workspaces: deps.Workspaces,
		logs: deps.LogLifetime, orphanAge: deps.OrphanAge, watchers: deps.Watchers, finish: deps.Finish, log: deps.Log.Named("supervisor"),
		ctx: ctx, cancel: cancel, checks: healthcheck.NewScheduler(), came: make(chan struct{}, 1), resumers: make(chan struct{}, resumers),
		watches: map[string]*Watch{}, searches: map[string]*search{},
	}
}

// Close ends every watch, check and search, and waits for them. Containers and jobs go on.
func (s *Supervisor) Close() {
	s.cancel()
	s.checks.Close()
	s.running.Wait()
}

// Lease is the right to compare the node with its ledger. There is one at a time.
type Lease struct{ lost chan struct{} }

func (l *Lease) isLost() bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}

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

func isNotFound(err error) bool {
	var notFound *serviceerror.NotFound
	return errors.As(err, &notFound)
}
