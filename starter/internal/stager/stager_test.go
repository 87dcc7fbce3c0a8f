package stager

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/progress"
	"github.com/durable-dea/dea/starter/internal/tail"
)

type keys struct{}

func (keys) Derive(string) [][]byte { return [][]byte{[]byte("0123456789abcdef0123456789abcdef")} }

// over is a Temporal whose stagings are over at once. status answers the question for their log.
type over struct {
	client.Client
	client.WorkflowRun
	status    func(context.Context) (any, error)
	again     bool
	beginning func() error
	cancelled []string
}

// began is the answer to the request.
type began struct {
	client.WorkflowUpdateHandle
	again bool
}

func (b began) Get(_ context.Context, out any) error {
	*out.(*api.StageAnswer) = api.StageAnswer{Again: b.again}
	return nil
}

func (o *over) NewWithStartWorkflowOperation(client.StartWorkflowOptions, any, ...any) client.WithStartWorkflowOperation {
	return nil
}

func (o *over) UpdateWithStartWorkflow(
	context.Context, client.UpdateWithStartWorkflowOptions,
) (client.WorkflowUpdateHandle, error) {
	if o.beginning != nil {
		return nil, o.beginning()
	}
	return began{again: o.again}, nil
}

func (o *over) CancelWorkflow(_ context.Context, id, _ string) error {
	o.cancelled = append(o.cancelled, id)
	return serviceerror.NewNotFound(id)
}

func (o *over) GetWorkflow(context.Context, string, string) client.WorkflowRun { return o }

func (o *over) Get(context.Context, any) error { return nil }

func (o *over) QueryWorkflow(ctx context.Context, _, _, _ string, _ ...any) (converter.EncodedValue, error) {
	value, err := o.status(ctx)
	if err != nil {
		return nil, err
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(value)
	return client.NewValue(payloads), err
}

func (o *over) QueryWorkflowWithOptions(
	context.Context, *client.QueryWorkflowWithOptionsRequest,
) (*client.QueryWorkflowWithOptionsResponse, error) {
	return nil, serviceerror.NewNotFound("no node")
}

func request() api.StagingRequest {
	return api.StagingRequest{AppID: "a", TaskID: "t", Stack: "s", DownloadURI: "http://cc", UploadURI: "http://cc"}
}

// stager is one for a Temporal, and what it says.
func stager(t *testing.T, temporal client.Client) (*Stager, *bytes.Buffer) {
	t.Helper()
	var told bytes.Buffer
	files := tail.New()
	t.Cleanup(files.Close)
	return &Stager{Controller: controller.New(temporal, keys{}), Files: files, Report: progress.New(&told)}, &told
}

func TestALogThatIsGoneIsNotPassedOverInSilence(t *testing.T) {
	empty := httptest.NewServer(http.NotFoundHandler())
	defer empty.Close()
	for name, test := range map[string]struct {
		status func(context.Context) (any, error)
		words  string
	}{
		"the node has it no longer": {func(context.Context) (any, error) {
			return api.StagingStatus{Node: "n", FilesURL: empty.URL, Result: &api.StagingResult{}}, nil
		}, "the staging log cannot be shown: its node no longer has it"},
		"nobody answers for it": {func(ctx context.Context) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, "`starter logs a --staging` may show it"},
	} {
		t.Run(name, func(t *testing.T) {
			s, told := stager(t, &over{status: test.status})
			_, err := s.Stage(context.Background(), request())
			require.NoError(t, err)
			require.Contains(t, told.String(), test.words)
		})
	}
}

// TestTheLogOfAStagingThatWasOverSoonIsShown: its node keeps it.
func TestTheLogOfAStagingThatWasOverSoonIsShown(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("\x1b[1mone\x1b[0m\nlast"))
	}))
	defer node.Close()
	s, told := stager(t, &over{again: true, status: func(context.Context) (any, error) {
		return api.StagingStatus{Node: "n", FilesURL: node.URL, Result: &api.StagingResult{}}, nil
	}})
	_, err := s.Stage(context.Background(), request())
	require.NoError(t, err)
	first, log, _ := strings.Cut(told.String(), "\n")
	require.Contains(t, first, "This task was begun before")
	require.Equal(t, "\x1b[1mone\x1b[0m\nlast\n", log)
}

// TestAnInterruptWhileItIsBegunCancelsIt: it may have been begun all the same.
func TestAnInterruptWhileItIsBegunCancelsIt(t *testing.T) {
	ctx, interrupt := context.WithCancel(context.Background())
	temporal := &over{beginning: func() error { interrupt(); return ctx.Err() }}
	s, told := stager(t, temporal)
	_, err := s.Stage(ctx, request())
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"stage/a/t"}, temporal.cancelled)
	require.Contains(t, told.String(), "It has not begun")
}

func TestPhasesThatLastAreToldOnce(t *testing.T) {
	phases := []api.StagingPhase{
		api.StagingPlacing, api.StagingPlacing, // it was so from the beginning
		api.StagingFetching, api.StagingBuilding, // fetched at once
		api.StagingBuilding, api.StagingBuilding, api.StagingUploading, api.StagingUploading,
		api.StagingReporting, api.StagingReporting, api.StagingReporting, api.StagingDone, api.StagingDone,
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	looks := 0
	s, told := stager(t, &over{status: func(context.Context) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		if looks++; looks > len(phases) {
			cancel()
			return nil, context.Canceled
		}
		return api.StagingStatus{Phase: phases[looks-1], Node: "n-1"}, nil
	}})
	s.tellPhases(ctx, s.Controller.Staging("a", "t"), time.Millisecond)
	require.Equal(t, "Looking for a node that has room\nBuilding on node n-1\nUploading the droplet\nTelling the cloud controller\n",
		told.String())
}
