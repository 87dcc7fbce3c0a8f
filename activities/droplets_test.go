package activities_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// starter is the part of Temporal that Await sees: it runs FetchDroplet as a function, once an id at a time.
type starter struct {
	fetch  func(api.FetchDropletInput) error
	starts atomic.Int32
	ids    chan string
}

func (s *starter) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, _ any, args ...any) (client.WorkflowRun, error) {
	s.starts.Add(1)
	if s.ids != nil {
		s.ids <- o.ID
	}
	return &workflowRun{id: o.ID, done: func() error { return s.fetch(args[0].(api.FetchDropletInput)) }}, nil
}

type workflowRun struct {
	id   string
	done func() error
}

func (r *workflowRun) GetID() string    { return r.id }
func (r *workflowRun) GetRunID() string { return "run" }

func (r *workflowRun) GetFirstExecutionRunID() string { return "run" }

func (r *workflowRun) Get(ctx context.Context, _ any) error {
	ended := make(chan error, 1)
	go func() { ended <- r.done() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *workflowRun) GetWithOptions(ctx context.Context, out any, _ client.WorkflowRunGetOptions) error {
	return r.Get(ctx, out)
}

func (n *node) newDroplets(s activities.WorkflowStarter) *activities.Droplets {
	return activities.NewDroplets(activities.DropletsDeps{
		Node: "node-1", Temporal: s, Cache: n.droplets, HTTP: n.http, Log: hclog.NewNullLogger(),
	})
}

func TestDownload(t *testing.T) {
	n, s := newNode(t), newStore(t)
	content := []byte("a droplet")
	s.put("/d", content)
	d := n.newDroplets(nil)
	params := activities.DropletParams{SHA1: strings.ToUpper(sum(content)), URI: s.url("/d")}
	result, err := execute(t.Context(), t, d.Download, params)
	require.NoError(t, err)
	require.Equal(t, activities.DropletResult{Bytes: 9}, result)
	path, err := n.droplets.Path(sum(content))
	require.NoError(t, err)
	requireFile(t, path, content)

	result, err = execute(t.Context(), t, d.Download, params)
	require.NoError(t, err)
	require.Equal(t, activities.DropletResult{Bytes: 9, Cached: true}, result)
	result, err = execute(t.Context(), t, d.Await, params)
	require.NoError(t, err)
	require.True(t, result.Cached)
	require.Equal(t, 1, s.count("/d"))
}

func TestDownloadResumesWhatADeathLeft(t *testing.T) {
	content := make([]byte, 50_000)
	copy(content, "droplet")
	for name, c := range map[string]struct {
		part    []byte
		resumed int64
		asked   int
	}{
		"right part": {content[:20_000], 20_000, 1},
		"wrong part": {make([]byte, 20_000), 0, 2},
		"whole":      {content, 50_000, 1},
		"too long":   {make([]byte, 60_000), 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			n, s := newNode(t), newStore(t)
			s.put("/d", content)
			part, err := n.droplets.Part(sum(content))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(part, c.part, 0o600))
			result, err := execute(t.Context(), t, n.newDroplets(nil).Download,
				activities.DropletParams{SHA1: sum(content), URI: s.url("/d")})
			require.NoError(t, err)
			require.Equal(t, activities.DropletResult{Bytes: 50_000, ResumedBytes: c.resumed}, result)
			require.Equal(t, c.asked, s.count("/d"))
		})
	}
}

func TestDownloadFaults(t *testing.T) {
	n, s := newNode(t), newStore(t)
	s.put("/d", []byte("another droplet"))
	down := newStore(t)
	down.Close()
	right := sum([]byte("a droplet"))
	for name, c := range map[string]struct {
		params activities.DropletParams
		kind   api.ErrorType
		final  bool
		words  string
	}{
		"wrong SHA-1":     {activities.DropletParams{SHA1: right, URI: s.url("/d")}, api.ErrDroplet, true, "SHA-1 is wrong"},
		"not there":       {activities.DropletParams{SHA1: right, URI: s.url("/none")}, api.ErrDroplet, true, "the droplet is not there"},
		"controller away": {activities.DropletParams{SHA1: right, URI: down.url("/d")}, api.ErrControllerUnreachable, false, "cannot be reached"},
		"no SHA-1":        {activities.DropletParams{SHA1: "../" + right[3:], URI: s.url("/d")}, api.ErrDroplet, true, "40 hexadecimal digits"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := execute(t.Context(), t, n.newDroplets(nil).Download, c.params)
			requireFault(t, err, c.kind, c.final, c.words)
			_, ok := n.droplets.Has(right)
			require.False(t, ok)
		})
	}
}

func TestManyAwaitOneDownload(t *testing.T) {
	n, s := newNode(t), newStore(t)
	content := []byte("a droplet")
	s.put("/d", content)
	gate := make(chan struct{})
	s.answer = func(http.ResponseWriter, *http.Request) bool { <-gate; return false }
	begun := make(chan string, 100)
	temporal := &starter{ids: begun}
	d := n.newDroplets(temporal)
	temporal.fetch = func(in api.FetchDropletInput) error {
		_, err := execute(context.Background(), t, d.Download, activities.DropletParams{SHA1: in.SHA1, URI: in.URI})
		return err
	}
	params := activities.DropletParams{SHA1: sum(content), URI: s.url("/d")}
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := execute(leaving, t, d.Await, params); left <- err }()
	require.Equal(t, api.DropletWorkflowID("node-1", sum(content)), <-begun)
	var all sync.WaitGroup
	results := make(chan error, 10)
	for range cap(results) {
		all.Go(func() { _, err := execute(t.Context(), t, d.Await, params); results <- err })
	}
	leave()
	require.Error(t, <-left)
	close(gate)
	all.Wait()
	for range cap(results) {
		require.NoError(t, <-results)
	}
	require.Equal(t, 1, s.count("/d"))
	require.LessOrEqual(t, temporal.starts.Load(), int32(2), "one wait, or a second after the first had no waiter left")
}

func TestAwaitFaults(t *testing.T) {
	n := newNode(t)
	params := activities.DropletParams{SHA1: sum(nil), URI: "http://h/" + secret}
	failed := temporal.NewApplicationErrorWithOptions("the droplet is not there", string(api.ErrDroplet),
		temporal.ApplicationErrorOptions{NonRetryable: true})
	for name, c := range map[string]struct {
		err   error
		final bool
		words string
	}{
		"download failed": {errors.Join(errors.New("workflow failed"), failed), true, "the droplet is not there"},
		"temporal away":   {serviceerror.NewUnavailable("away"), false, "could not be fetched"},
		"timed out":       {temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil), false, "could not be fetched"},
		"gone at once":    {nil, false, "not in the node's cache"},
	} {
		t.Run(name, func(t *testing.T) {
			d := n.newDroplets(&starter{fetch: func(api.FetchDropletInput) error { return c.err }})
			_, err := execute(t.Context(), t, d.Await, params)
			requireFault(t, err, api.ErrDroplet, c.final, c.words)
		})
	}
	_, err := execute(t.Context(), t, n.newDroplets(nil).Await, activities.DropletParams{SHA1: "x"})
	requireFault(t, err, api.ErrDroplet, true, "40 hexadecimal digits")
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	n := newNode(t)
	release := make(chan struct{})
	defer close(release)
	begun := make(chan string, 1)
	d := n.newDroplets(&starter{ids: begun, fetch: func(api.FetchDropletInput) error { <-release; return nil }})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	begin := time.Now()
	_, err := execute(ctx, t, d.Await, activities.DropletParams{SHA1: sum(nil), URI: "http://h/"})
	require.ErrorContains(t, err, "cancel")
	require.Less(t, time.Since(begin), patience)
}
