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

	mu   sync.Mutex
	runs map[string]*workflowRun
}

func (s *starter) ExecuteWorkflow(_ context.Context, o client.StartWorkflowOptions, _ any, args ...any) (client.WorkflowRun, error) {
	s.starts.Add(1)
	if s.ids != nil {
		s.ids <- o.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs[o.ID] != nil {
		return nil, serviceerror.NewWorkflowExecutionAlreadyStarted("already started", "", "run")
	}
	run := &workflowRun{id: o.ID, ended: make(chan struct{})}
	if s.runs == nil {
		s.runs = map[string]*workflowRun{}
	}
	s.runs[o.ID] = run
	go func() {
		err := s.fetch(args[0].(api.FetchDropletInput))
		s.mu.Lock()
		defer s.mu.Unlock()
		run.err = err
		delete(s.runs, o.ID)
		close(run.ended)
	}()
	return run, nil
}

// GetWorkflow gives a run that was under way a moment ago; one that has ended since is as good as one that went well.
func (s *starter) GetWorkflow(_ context.Context, id, _ string) client.WorkflowRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	if run := s.runs[id]; run != nil {
		return run
	}
	run := &workflowRun{id: id, ended: make(chan struct{})}
	close(run.ended)
	return run
}

type workflowRun struct {
	id    string
	ended chan struct{}
	// err is to be read once it has ended.
	err error
}

func (r *workflowRun) GetID() string    { return r.id }
func (r *workflowRun) GetRunID() string { return "run" }

func (r *workflowRun) GetFirstExecutionRunID() string { return "run" }

func (r *workflowRun) Get(ctx context.Context, _ any) error {
	select {
	case <-r.ended:
		return r.err
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
	require.NoError(t, d.Await(t.Context(), params))
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
	go func() { left <- d.Await(leaving, params) }()
	require.Equal(t, api.DropletWorkflowID("node-1", sum(content)), <-begun)
	var all sync.WaitGroup
	results := make(chan error, 10)
	for range cap(results) {
		all.Go(func() { results <- d.Await(t.Context(), params) })
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

// A URL may have expired of which another has not.
func TestAwaitTriesItsOwnURL(t *testing.T) {
	content := []byte("a droplet")
	for name, c := range map[string]struct {
		// own is the path of the second one's URL, status what the first one's is answered with.
		own    string
		status int
		words  string
	}{
		"expired":        {"/good", http.StatusForbidden, ""},
		"not there":      {"/good", http.StatusNotFound, ""},
		"wrong as well":  {"/none", http.StatusForbidden, "the droplet is not there"},
		"the same again": {"/bad", http.StatusForbidden, "credentials for the droplet were refused"},
	} {
		for _, by := range []string{"this worker", "an earlier worker"} {
			t.Run(name+", begun by "+by, func(t *testing.T) {
				n, s := newNode(t), newStore(t)
				s.put("/good", content)
				gate := make(chan struct{})
				s.answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/bad" {
						return false
					}
					<-gate
					w.WriteHeader(c.status)
					return true
				}
				temporal := &starter{ids: make(chan string, 100)}
				first := n.newDroplets(temporal)
				second := first
				if by == "an earlier worker" {
					second = n.newDroplets(temporal)
				}
				temporal.fetch = func(in api.FetchDropletInput) error {
					_, err := execute(context.Background(), t, first.Download, activities.DropletParams{SHA1: in.SHA1, URI: in.URI})
					return err
				}
				ended := make(chan error, 1)
				go func() {
					ended <- first.Await(t.Context(), activities.DropletParams{SHA1: sum(content), URI: s.url("/bad")})
				}()
				<-temporal.ids
				var all sync.WaitGroup
				results := make(chan error, 3)
				for range cap(results) {
					all.Go(func() {
						results <- second.Await(t.Context(), activities.DropletParams{SHA1: sum(content), URI: s.url(c.own)})
					})
				}
				if second != first {
					<-temporal.ids // It has joined.
				} else {
					require.Eventually(t, func() bool { return first.Waiting(sum(content)) == 1+cap(results) }, patience, time.Millisecond)
				}
				close(gate)
				requireFault(t, <-ended, api.ErrDroplet, true, "the droplet")
				all.Wait()
				for range cap(results) {
					if err := <-results; c.words == "" {
						require.NoError(t, err)
					} else {
						requireFault(t, err, api.ErrDroplet, true, c.words)
					}
				}
				if c.words == "" {
					require.Equal(t, 1, s.count("/good"))
				}
			})
		}
	}
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
			requireFault(t, d.Await(t.Context(), params), api.ErrDroplet, c.final, c.words)
		})
	}
	err := n.newDroplets(nil).Await(t.Context(), activities.DropletParams{SHA1: "x"})
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
	err := d.Await(ctx, activities.DropletParams{SHA1: sum(nil), URI: "http://h/"})
	require.ErrorContains(t, err, "cancel")
	require.Less(t, time.Since(begin), patience)
}
