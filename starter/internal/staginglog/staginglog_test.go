package staginglog_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/directory"
	"github.com/durable-dea/dea/starter/internal/staginglog"
	"github.com/durable-dea/dea/starter/internal/tail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type keys struct{}

func (keys) Derive(string) [][]byte { return [][]byte{[]byte("0123456789abcdef0123456789abcdef")} }

// world is a Temporal whose workflows answer queries, and a node's directory server over one directory for every staging
// and one for every instance.
type world struct {
	client.Client
	t        *testing.T
	mu       sync.Mutex
	answers  map[string]any
	url      string
	staging  string
	instance string
	*staginglog.Reader
	lines, warnings []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, answers: map[string]any{}, staging: filepath.Join(t.TempDir(), "s"), instance: filepath.Join(t.TempDir(), "i")}
	for _, dir := range []string{w.staging, filepath.Join(w.instance, "logs")} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	place := func(dir string) directory.Resolver {
		return func(context.Context, string) (directory.Place, error) { return directory.At(dir), nil }
	}
	server := httptest.NewServer(directory.New(directory.Options{
		Keys: keys{}.Derive(""), Stagings: place(w.staging), Instances: place(w.instance), Log: hclog.NewNullLogger(),
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	files := tail.New()
	t.Cleanup(files.Close)
	w.Reader = &staginglog.Reader{
		Controller: controller.New(w, keys{}), Files: files,
		Emit: func(line string) { w.note(&w.lines, line) }, Warn: func(text string) { w.note(&w.warnings, text) },
	}
	return w
}

func (w *world) note(to *[]string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*to = append(*to, text)
}

func (w *world) shows(lines ...string) func() bool {
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Equal(lines, w.lines)
	}
}

func (w *world) answer(workflow string, value any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[workflow] = value
}

func (w *world) value(workflow string) (converter.EncodedValue, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	value, known := w.answers[workflow]
	if !known {
		return nil, serviceerror.NewNotFound(workflow)
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(value)
	return client.NewValue(payloads), err
}

func (w *world) QueryWorkflow(_ context.Context, id, _, _ string, _ ...any) (converter.EncodedValue, error) {
	return w.value(id)
}

func (w *world) QueryWorkflowWithOptions(
	_ context.Context, r *client.QueryWorkflowWithOptionsRequest,
) (*client.QueryWorkflowWithOptionsResponse, error) {
	value, err := w.value(r.WorkflowID)
	return &client.QueryWorkflowWithOptionsResponse{QueryResult: value}, err
}

// write appends to a staging's log.
func (w *world) write(text string) {
	f, err := os.OpenFile(filepath.Join(w.staging, "staging.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(w.t, err)
	_, err = f.WriteString(text)
	require.NoError(w.t, err)
	require.NoError(w.t, f.Close())
}

// dropletLog gives every instance the log of its droplet.
func (w *world) dropletLog(text string) {
	require.NoError(w.t, os.WriteFile(filepath.Join(w.instance, controller.DropletLog), []byte(text), 0o600))
}

// staged says that the app hello has a newest staging.
func (w *world) staged(status api.StagingStatus) {
	w.answer("stagings/hello", api.StagingsStatus{AppID: "hello", Newest: "t"})
	w.answer("stage/hello/t", status)
}

// runs says that the app hello has an instance.
func (w *world) runs(state api.InstanceState) {
	w.answer("app/hello", api.AppStatus{AppID: "hello", Version: "v2", Instances: []api.InstanceStatus{
		{InstanceID: "old", Version: "v1", State: api.StateRunning, FilesURL: "http://127.0.0.1:1"},
		{InstanceID: "i", Version: "v2", State: state, FilesURL: w.url},
	}})
}

// newest asks for the newest log in the background.
func (w *world) newest() <-chan error {
	done := make(chan error, 1)
	go func() { done <- w.Newest(context.Background(), "hello", 2) }()
	return done
}

// TestALogIsFollowedFromBeforeItHasALine: it waits for a place, then at an empty file, and shows the last line though it
// has no end.
func TestALogIsFollowedFromBeforeItHasALine(t *testing.T) {
	w := newWorld(t)
	w.staged(api.StagingStatus{Phase: api.StagingPlacing})
	done := w.newest()
	w.write("")
	w.staged(api.StagingStatus{Phase: api.StagingFetching, Node: "n", FilesURL: w.url})
	time.Sleep(300 * time.Millisecond) // an empty file is no end
	require.Empty(t, done)
	want := []string{}
	for i := range 5 {
		w.write(fmt.Sprintf("\x1b[3%dm-----> %d\x1b[0m\n", i, i))
		want = append(want, fmt.Sprintf("\x1b[3%dm-----> %d\x1b[0m", i, i))
		require.Eventually(t, w.shows(want...), 5*time.Second, 5*time.Millisecond)
	}
	w.write("100%")
	require.NoError(t, os.RemoveAll(w.staging))
	require.NoError(t, <-done)
	require.True(t, w.shows(append(want, "100%")...)(), w.lines)
	require.Empty(t, w.warnings)
}

func TestAStagingWithoutAPlaceHasNoLog(t *testing.T) {
	w := newWorld(t)
	w.staged(api.StagingStatus{Result: &api.StagingResult{}})
	require.NoError(t, w.Follow(context.Background(), w.Controller.Staging("hello", "t")))
	err := <-w.newest()
	require.ErrorIs(t, err, controller.ErrNoSuchStaging)
	require.ErrorContains(t, err, "wrote no log: it ended before it had a place")
}

// TestAnEndThatIsGone: what was followed when its node's server went, and is no longer there once the staging is over.
func TestAnEndThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.write("one\ntwo")
	var once sync.Once
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		once.Do(func() {
			_, _ = rw.Write([]byte("one\ntw"))
			_ = http.NewResponseController(rw).Flush()
			_ = os.RemoveAll(w.staging) // what follows tells whether it is gone
			w.staged(api.StagingStatus{Node: "n", FilesURL: w.url, Result: &api.StagingResult{}})
		})
		panic(http.ErrAbortHandler)
	}))
	defer proxy.Close()
	w.staged(api.StagingStatus{Node: "n", FilesURL: proxy.URL})
	w.answer("node/n", api.NodeStatus{Node: "n", FilesURL: w.url})
	done := w.newest()
	require.Eventually(t, w.shows("one"), 5*time.Second, 5*time.Millisecond)
	require.ErrorContains(t, <-done, "its end is no longer on its node")
	require.True(t, w.shows("one")())
}

func TestANodeThatIsGoneIsNotWaitedForOnceAllIsOver(t *testing.T) {
	w := newWorld(t)
	w.staged(api.StagingStatus{Node: "n", FilesURL: "http://127.0.0.1:1", Result: &api.StagingResult{}})
	err := w.Follow(context.Background(), w.Controller.Staging("hello", "t"))
	require.ErrorIs(t, err, tail.ErrUnreachable)
	require.Len(t, w.warnings, 1)
}

func TestFollowEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	w.staged(api.StagingStatus{Phase: api.StagingPlacing})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, w.Follow(ctx, w.Controller.Staging("hello", "t")), context.DeadlineExceeded)
}

func TestNewestOfAStagingThatIsOver(t *testing.T) {
	failed := &api.StagingResult{Error: "x", ErrorInfo: &api.ErrorInfo{Type: api.ErrBuildpackCompile, Message: "x"}}
	for name, test := range map[string]struct {
		given        func(*world)
		lines        []string
		warns, fails string
	}{
		"the node has it": {given: func(w *world) {
			w.write("one\ntwo\nthree\n4")
			w.staged(api.StagingStatus{Node: "n", FilesURL: w.url, Result: failed})
		}, lines: []string{"two", "three", "4"}},
		"the node serves elsewhere now": {given: func(w *world) {
			w.write("one\n")
			w.staged(api.StagingStatus{Node: "n", FilesURL: "http://127.0.0.1:1", Result: &api.StagingResult{}})
			w.answer("node/n", api.NodeStatus{Node: "n", FilesURL: w.url})
		}, lines: []string{"one"}},
		"an instance has it": {given: func(w *world) {
			w.dropletLog("a\nb\nc\n")
			w.staged(api.StagingStatus{Node: "n", FilesURL: w.url, Result: &api.StagingResult{}})
			w.runs(api.StateRunning)
		}, lines: []string{"b", "c"}, warns: "its node no longer has it"},
		"forgotten, and it runs": {given: func(w *world) {
			w.dropletLog("a\n")
			w.runs(api.StateRunning)
		}, lines: []string{"a"}, warns: "came with the droplet"},
		"failed, and an earlier one runs": {given: func(w *world) {
			w.dropletLog("a\n")
			w.staged(api.StagingStatus{Node: "n", FilesURL: w.url, Result: failed})
			w.runs(api.StateRunning)
		}, fails: "which failed, cannot be had: its node no longer has it: `starter push`"},
		"nothing runs": {given: func(w *world) {
			w.dropletLog("a\n")
			w.staged(api.StagingStatus{Node: "n", FilesURL: w.url, Result: &api.StagingResult{}})
			w.runs(api.StateCrashed)
		}, fails: "there is no staging log of hello", warns: "its node no longer has it"},
		"an instance without it": {given: func(w *world) { w.runs(api.StateRunning) }, fails: "no instance runs that has it"},
		"never staged":           {given: func(*world) {}, fails: "`starter push` stages the app again"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			test.given(w)
			err := <-w.newest()
			if test.fails == "" {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, controller.ErrNoSuchStaging)
				require.ErrorContains(t, err, test.fails)
			}
			require.Equal(t, test.lines, w.lines)
			require.Contains(t, strings.Join(w.warnings, "\n"), test.warns)
			require.Equal(t, test.warns == "", len(w.warnings) == 0)
		})
	}
}
