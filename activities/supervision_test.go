package activities_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// ledgerWorld stands for the workflow of the node.
type ledgerWorld struct {
	// asked answers each question, advertised hears each advertisement.
	asked      func(ctx context.Context) (api.NodeStatus, error)
	advertised func()
}

func (l *ledgerWorld) QueryWorkflow(ctx context.Context, _, _, query string, _ ...any) (converter.EncodedValue, error) {
	if query != api.QueryNode.Name() {
		return nil, errors.New("nobody answers " + query)
	}
	status, err := l.asked(ctx)
	if err != nil {
		return nil, err
	}
	data, err := converter.GetDefaultDataConverter().ToPayloads(status)
	return client.NewValue(data), err
}

func (l *ledgerWorld) SignalWorkflow(_ context.Context, _, _, _ string, value any) error {
	if _, ok := value.(api.NodeAdvertisement); ok {
		l.advertised()
	}
	return nil
}

// supervision is the activity of the node's heartbeat, which looks for what nobody owns once.
func (i *instanceTest) supervision(ledger *ledgerWorld, log hclog.Logger) *activities.Supervision {
	return activities.NewSupervision(activities.SupervisionDeps{
		Supervisor: i.supervisor, Packages: i.packages(), Crashes: i.crashes(), Temporal: ledger,
		Droplets: activities.NewDroplets(activities.DropletsDeps{
			Node: "n", Cache: i.droplets, Warden: i.server.Client, HTTP: i.http, Log: log,
			Keep: droplets.Keep{MaxBytes: 1 << 30, Unused: time.Hour},
		}),
		OrphanReap: time.Hour, DropletGC: time.Hour, Log: log,
	})
}

// supervise runs it until ctx ends, or it does.
func supervise(ctx context.Context, t *testing.T, s *activities.Supervision) <-chan activities.SuperviseEnd {
	t.Helper()
	ended := make(chan activities.SuperviseEnd, 1)
	go func() {
		result, _ := execute(ctx, t, s.Supervise, activities.SuperviseParams{Node: "n", Term: time.Hour})
		ended <- result.Reason
	}()
	return ended
}

// lines takes each line that is logged; more than it holds are waited with.
type lines chan string

// Write takes one line.
func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// TestLostNodeIsClearedBeforeItTakesWork: what was left runs on in memory that is given out again. A Warden that is away
// is waited for, and the node with it.
func TestLostNodeIsClearedBeforeItTakesWork(t *testing.T) {
	for name, status := range map[string]api.NodeStatus{
		"lost":      {Node: "n", State: api.NodeStateLost, Capacity: api.Resources{MemoryMB: 1, DiskMB: 1}},
		"forgotten": {Node: "n", State: api.NodeSuspect},
	} {
		t.Run(name, func(t *testing.T) { clearsBeforeItTakesWork(t, status) })
	}
}

func clearsBeforeItTakesWork(t *testing.T, status api.NodeStatus) {
	t.Helper()
	i := newInstanceTest(t, writesOnce)
	left, booked := uuid.NewString(), uuid.NewString()
	for _, handle := range []string{left, booked} {
		_, err := i.server.Client.Create(t.Context(), &wardenpb.CreateRequest{Handle: proto.String(handle)})
		require.NoError(t, err)
	}
	status.Reservations = []api.Reservation{
		{ID: booked, Kind: api.KindInstance, Workflow: api.InstanceWorkflowID(booked)},
	}
	found := make(chan []string, 1)
	ledger := &ledgerWorld{
		asked: func(context.Context) (api.NodeStatus, error) { return status, nil },
		advertised: func() {
			list, err := i.server.Client.List(t.Context(), &wardenpb.ListRequest{})
			if err == nil {
				found <- list.GetHandles()
			}
		},
	}
	i.server.Kill()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := make(lines, 100)
	ended := supervise(ctx, t, i.supervision(ledger, hclog.New(&hclog.LoggerOptions{Output: said})))
	for range 3 {
		require.Contains(t, <-said, "what is left on it is not taken down yet")
	}
	require.Empty(t, found, "nobody knows what runs there")
	i.server.Start()
	require.Equal(t, []string{booked}, <-found)
	cancel()
	<-ended
}

// TestLeaseIsLostWhileALookHangs: what is at work ends with the lease, and does not keep it from being heard.
func TestLeaseIsLostWhileALookHangs(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	hangs, looks := make(chan struct{}), 0
	over := make(chan struct{})
	ledger := &ledgerWorld{
		asked: func(ctx context.Context) (api.NodeStatus, error) {
			if looks++; looks == 1 { // To take over.
				return api.NodeStatus{Node: "n", State: api.NodeReady, Capacity: api.Resources{MemoryMB: 1, DiskMB: 1}}, nil
			}
			close(hangs)
			<-ctx.Done()
			close(over)
			return api.NodeStatus{}, ctx.Err()
		},
		advertised: func() {},
	}
	ended := supervise(t.Context(), t, i.supervision(ledger, hclog.NewNullLogger()))
	<-hangs
	i.supervisor.Take()
	require.Equal(t, activities.EndReplaced, <-ended)
	<-over
}

func TestRoutesAreTriedAgainUntilTheWorkerKnowsItsInstances(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	params := activities.RouteParams{InstanceID: anInstance, URIs: []string{"a.localhost"}}
	_, err := execute(t.Context(), t, silently(i.containers.Route), params)
	requireFault(t, err, api.ErrWarden, false, "the node's worker does not look after the instance yet")
	require.NoError(t, i.supervisor.Resume(t.Context(), api.NodeStatus{}))
	_, err = execute(t.Context(), t, silently(i.containers.Route), params)
	require.NoError(t, err, "it has ended")
}
