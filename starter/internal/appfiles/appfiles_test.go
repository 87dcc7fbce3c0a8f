package appfiles_test

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/directory"
	"github.com/durable-dea/dea/starter/internal/appfiles"
	"github.com/durable-dea/dea/starter/internal/tail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type keys struct{}

func (keys) Derive(string) [][]byte { return [][]byte{[]byte("0123456789abcdef0123456789abcdef")} }

// world is a Temporal whose workflows answer queries, and a node's directory server over one directory for each instance.
type world struct {
	client.Client
	*appfiles.Reader
	t    *testing.T
	home string
	url  string
	told []string

	mu      sync.Mutex
	answers map[string]any
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, answers: map[string]any{}, home: filepath.Join(t.TempDir(), "i")}
	require.NoError(t, os.MkdirAll(filepath.Join(w.home, "logs"), 0o755))
	w.url = w.serve()
	files := tail.New()
	t.Cleanup(files.Close)
	w.Reader = &appfiles.Reader{
		Controller: controller.New(w, keys{}), Files: files, Warn: func(text string) { w.told = append(w.told, text) },
	}
	return w
}

// serve is a directory server of the node's.
func (w *world) serve() string {
	server := httptest.NewServer(directory.New(directory.Options{
		Keys: keys{}.Derive(""), Instances: func(_ context.Context, id string) (directory.Place, error) {
			if id == "soon" {
				return directory.Place{}, directory.ErrNotYet
			}
			return directory.At(w.home), nil
		},
	}))
	w.t.Cleanup(server.Close)
	return server.URL
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

func (w *world) ListWorkflow(context.Context, *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	return &workflowservice.ListWorkflowExecutionsResponse{}, nil
}

func (w *world) write(name, content string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(filepath.Join(w.home, name), []byte(content), 0o600))
}

// append goes on with a file: written anew it would be empty for a moment, and be followed from its beginning.
func (w *world) append(name, content string) {
	w.t.Helper()
	file, err := os.OpenFile(filepath.Join(w.home, name), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(w.t, err)
	_, err = file.WriteString(content)
	require.NoError(w.t, errors.Join(err, file.Close()))
}

func (w *world) instance() api.InstanceStatus {
	return api.InstanceStatus{InstanceID: "i-1", Node: "n", State: api.StateRunning, FilesURL: w.url}
}

func TestFindChoosesTheInstanceThatRuns(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	one := func(id string, index int, state api.InstanceState, ago time.Duration, url string) api.InstanceStatus {
		return api.InstanceStatus{InstanceID: id, AppID: "hello", Index: index, State: state, Since: now.Add(-ago), FilesURL: url}
	}
	w.answer(api.AppWorkflowID("hello"), api.AppStatus{AppID: "hello", Instances: []api.InstanceStatus{
		one("old-crash", 0, api.StateCrashed, time.Hour, "u"), one("runs", 0, api.StateRunning, time.Minute, "u"),
		one("new", 0, api.StateStarting, 0, "u"),
		one("crashed", 1, api.StateCrashed, time.Hour, "u"), one("crashed-again", 1, api.StateCrashed, time.Minute, "u"),
		one("born", 2, api.StateBorn, 0, ""), one("just-crashed", 2, api.StateCrashed, time.Minute, "u"), one("starts", 2, api.StateStarting, time.Hour, "u"),
	}})
	for index, want := range []string{"runs", "crashed-again", "starts"} {
		found, err := w.Find(t.Context(), "hello", index)
		require.NoError(t, err)
		require.Equal(t, want, found.InstanceID)
	}
	_, err := w.Find(t.Context(), "hello", 3)
	require.ErrorIs(t, err, controller.ErrNoSuchInstance)
	require.ErrorContains(t, err, "hello has no instance 3 now: `starter ps hello`")
	_, err = w.Find(t.Context(), "nobody", 0)
	require.ErrorIs(t, err, controller.ErrNoSuchApp)
}

func TestOpenShowsDirectoriesAndFiles(t *testing.T) {
	w := newWorld(t)
	w.write("logs/stdout.log", "hello\n")
	content, err := w.Open(t.Context(), w.instance(), "logs", "")
	require.NoError(t, err)
	require.Equal(t, "stdout.log", content.Listing.Entries[0].Name)
	content, err = w.Open(t.Context(), w.instance(), "logs/stdout.log", "0-1")
	require.NoError(t, err)
	defer content.Close()
	var out bytes.Buffer
	require.NoError(t, content.CopyTo(t.Context(), &out))
	require.Equal(t, "he", out.String())
}

// TestANodeThatHasMovedIsFound: a worker that was started again serves its files at another port.
func TestANodeThatHasMovedIsFound(t *testing.T) {
	w := newWorld(t)
	w.answer(api.NodeWorkflowID("n"), api.NodeStatus{Node: "n", FilesURL: w.url})
	was := w.instance()
	was.FilesURL = "http://127.0.0.1:1"
	content, err := w.Open(t.Context(), was, "", "")
	require.NoError(t, err)
	require.NotNil(t, content.Listing)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(w.home, "link")))
	nowhere, away, soon, over := w.instance(), w.instance(), w.instance(), w.instance()
	nowhere.FilesURL, away.FilesURL, soon.InstanceID, over.State = "", "http://127.0.0.1:1", "soon", api.StateCrashed
	for name, test := range map[string]struct {
		instance api.InstanceStatus
		path     string
		kind     error
		words    string
	}{
		"no path":     {w.instance(), "app/x", tail.ErrNotThere, "/app/x of instance i-1 is not there: `starter files --instance i-1 app` lists what is there"},
		"no top path": {w.instance(), "x", tail.ErrNotThere, "`starter files --instance i-1` lists"},
		"outside":     {w.instance(), "link", tail.ErrNotReadable, "leads out of the instance's directory"},
		"up":          {w.instance(), "../x", tail.ErrNotReadable, "`starter files --instance i-1` lists"},
		"no node yet": {nowhere, "logs", tail.ErrNotYet, "has no files yet: try again"},
		"not yet":     {soon, "logs", tail.ErrNotYet, "has no files yet: try again"},
		"away":        {away, "logs", tail.ErrUnreachable, "`starter nodes` shows whether node n is there"},
		"over":        {over, "app", tail.ErrNotThere, "only the logs of the last crash are kept"},
	} {
		_, err := w.Open(t.Context(), test.instance, test.path, "")
		require.ErrorIs(t, err, test.kind, name)
		require.ErrorContains(t, err, test.words, name)
		require.NotContains(t, err.Error(), "hmac", name)
		err = w.Follow(t.Context(), test.instance, test.path, 1, func(string) {})
		require.ErrorIs(t, err, test.kind, name)
	}
	err := w.Follow(t.Context(), w.instance(), "logs", 1, func(string) {})
	require.ErrorIs(t, err, tail.ErrDirectory)
	require.ErrorContains(t, err, "leave --follow out to list it")
}

// TestFollowGoesOnUntilTheInstanceIsGone, through a restart of the node's worker.
func TestFollowGoesOnUntilTheInstanceIsGone(t *testing.T) {
	w := newWorld(t)
	w.answer(api.InstanceWorkflowID("i-1"), w.instance())
	w.write("log", "one\ntwo\nthr")
	lines := make(chan string, 10)
	done := make(chan error, 1)
	was := w.instance()
	server := httptest.NewServer(nil)
	was.FilesURL = server.URL
	server.Close()
	w.answer(api.NodeWorkflowID("n"), api.NodeStatus{Node: "n", FilesURL: w.url})
	go func() { done <- w.Follow(t.Context(), was, "log", 1, func(line string) { lines <- line }) }()
	require.Equal(t, "two", <-lines)
	w.append("log", "ee\n")
	require.Equal(t, "three", <-lines)
	require.NoError(t, os.RemoveAll(w.home))
	require.NoError(t, <-done)
}

// TestFollowEndsWithItsInstance also where the node's worker went before it.
func TestFollowEndsWithItsInstance(t *testing.T) {
	w := newWorld(t)
	w.write("log", "one\n")
	was := w.instance()
	ended := was
	ended.State = api.StateStopped
	server := httptest.NewUnstartedServer(directory.New(directory.Options{
		Keys: keys{}.Derive(""), Instances: func(context.Context, string) (directory.Place, error) { return directory.At(w.home), nil },
	}))
	server.Start()
	t.Cleanup(server.Close)
	was.FilesURL = server.URL
	lines := make(chan string, 10)
	done := make(chan error, 1)
	go func() { done <- w.Follow(t.Context(), was, "log", 1, func(line string) { lines <- line }) }()
	require.Equal(t, "one", <-lines)
	w.answer(api.InstanceWorkflowID("i-1"), ended)
	server.CloseClientConnections()
	server.Listener.Close()
	require.NoError(t, <-done)
	require.True(t, slices.Equal(w.told, nil), w.told)
}
