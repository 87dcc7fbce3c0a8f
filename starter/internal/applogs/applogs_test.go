package applogs_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/directory"
	"github.com/durable-dea/dea/internal/logtimes"
	"github.com/durable-dea/dea/starter/internal/applogs"
	"github.com/durable-dea/dea/starter/internal/tail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

type keys struct{}

func (keys) Derive(string) [][]byte { return [][]byte{[]byte("0123456789abcdef0123456789abcdef")} }

// world is an app "hello", with a Temporal that answers for it, and nodes with directory servers over directories that the
// test writes to.
type world struct {
	client.Client
	t    *testing.T
	base string

	mu    sync.Mutex
	app   *api.AppStatus
	ended []api.InstanceStatus
	// alone are instances that the app's workflow does not know.
	alone []api.InstanceStatus
	// hung, where it is not nil, has the app's workflow not answer until it is closed. asked is how often it was asked.
	hung            chan struct{}
	asked           int
	nodes           map[string]*httptest.Server
	lines, warnings []string

	*applogs.Reader
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, base: t.TempDir(), app: &api.AppStatus{AppID: "hello"}, nodes: map[string]*httptest.Server{},
	}
	files := tail.New()
	t.Cleanup(files.Close)
	w.Reader = &applogs.Reader{
		Controller: controller.New(w, keys{}), Files: files,
		Emit: func(l applogs.Line) {
			require.Equal(t, "hello", l.App)
			w.note(&w.lines, strings.Join([]string{l.Time.UTC().Format("15:04:05"), string(rune('0' + l.Index)), l.Instance, l.Stream, l.Text}, " "))
		},
		Warn: func(text string) { w.note(&w.warnings, text) },
	}
	return w
}

func (w *world) note(to *[]string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*to = append(*to, text)
}

func (w *world) said() (lines, warnings []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines), slices.Clone(w.warnings)
}

// serve starts a node's directory server, anew where it had one. Instances that are said to have ended are over.
func (w *world) serve(node string) {
	w.t.Helper()
	server := httptest.NewServer(directory.New(directory.Options{Keys: keys{}.Derive(""), Instances: w.resolve}))
	w.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[node] = server
}

func (w *world) stop(node string) {
	w.mu.Lock()
	server := w.nodes[node]
	w.mu.Unlock()
	_ = server.Listener.Close()
	server.CloseClientConnections()
}

func (w *world) resolve(_ context.Context, id string) (directory.Place, error) {
	dir := filepath.Join(w.base, id)
	if _, err := os.Stat(dir); err != nil {
		return directory.Place{}, directory.ErrUnknown
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.ContainsFunc(w.ended, func(i api.InstanceStatus) bool { return i.InstanceID == id }) {
		return directory.Kept(dir), nil
	}
	return directory.At(dir), nil
}

// start has the app have an instance, which has said nothing yet.
func (w *world) start(id string, index int, node string) {
	w.t.Helper()
	require.NoError(w.t, os.MkdirAll(filepath.Join(w.base, id, "logs"), 0o700))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.app.Instances = append(w.app.Instances, api.InstanceStatus{
		InstanceID: id, AppID: "hello", Index: index, Node: node, State: api.StateRunning, FilesURL: w.nodes[node].URL,
	})
}

// end has an instance be one that has crashed, or was stopped.
func (w *world) end(id string, crashed bool) {
	w.t.Helper()
	w.mu.Lock()
	at := slices.IndexFunc(w.app.Instances, func(i api.InstanceStatus) bool { return i.InstanceID == id })
	ended := w.app.Instances[at]
	ended.State = api.StateDeleted
	w.app.Instances = slices.Delete(w.app.Instances, at, at+1)
	w.ended = slices.Insert(w.ended, 0, ended)
	w.mu.Unlock()
	if !crashed {
		require.NoError(w.t, os.RemoveAll(filepath.Join(w.base, id)))
	}
}

// say has an instance write a line at a second of the first of January 2026.
func (w *world) say(id, stream string, second int, text string) {
	w.t.Helper()
	path := filepath.Join(w.base, id, "logs", stream+".log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(w.t, err)
	info, err := f.Stat()
	require.NoError(w.t, err)
	times, err := os.OpenFile(logtimes.Name(path), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(w.t, err)
	var mark []byte
	if info.Size() == 0 {
		mark = logtimes.Header{File: info.Sys().(*syscall.Stat_t).Ino}.Append(nil)
	}
	at := time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC).UnixNano()
	_, err = times.Write(logtimes.Entry{Offset: info.Size(), At: at}.Append(mark))
	require.NoError(w.t, err)
	_, err = f.WriteString(text + "\n")
	require.NoError(w.t, errors.Join(err, times.Close(), f.Close()))
}

func (w *world) QueryWorkflowWithOptions(
	_ context.Context, r *client.QueryWorkflowWithOptionsRequest,
) (*client.QueryWorkflowWithOptionsResponse, error) {
	if r.WorkflowID == api.AppWorkflowID("hello") {
		w.mu.Lock()
		hung := w.hung
		w.asked++
		w.mu.Unlock()
		if hung != nil {
			select {
			case <-hung:
			case <-w.t.Context().Done():
			}
		}
	}
	value, err := w.value(r.WorkflowID)
	return &client.QueryWorkflowWithOptionsResponse{QueryResult: value}, err
}

func (w *world) QueryWorkflow(_ context.Context, id, _, _ string, _ ...any) (converter.EncodedValue, error) {
	return w.value(id)
}

func (w *world) value(id string) (converter.EncodedValue, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var answer any
	if id == api.AppWorkflowID("hello") && w.app != nil {
		answer = w.app
	}
	for name, server := range w.nodes {
		if id == api.NodeWorkflowID(name) {
			answer = api.NodeStatus{Node: name, FilesURL: server.URL}
		}
	}
	for _, i := range slices.Concat(w.instances(), w.alone, w.ended) {
		if id == api.InstanceWorkflowID(i.InstanceID) {
			answer = i
		}
	}
	if answer == nil {
		return nil, serviceerror.NewNotFound(id)
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(answer)
	return client.NewValue(payloads), err
}

func (w *world) ListWorkflow(
	_ context.Context, r *workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	response := &workflowservice.ListWorkflowExecutionsResponse{}
	if !strings.Contains(r.GetQuery(), "ExecutionStatus != 'Running'") {
		for _, i := range w.alone {
			response.Executions = append(response.Executions, &workflowpb.WorkflowExecutionInfo{
				Execution: &commonpb.WorkflowExecution{WorkflowId: api.InstanceWorkflowID(i.InstanceID)},
			})
		}
		return response, nil
	}
	for _, i := range w.ended {
		fields := map[string]*commonpb.Payload{}
		for name, value := range map[string]any{api.SearchNode.GetName(): i.Node, api.SearchIndex.GetName(): i.Index} {
			payload, err := converter.GetDefaultDataConverter().ToPayload(value)
			if err != nil {
				return nil, err
			}
			fields[name] = payload
		}
		response.Executions = append(response.Executions, &workflowpb.WorkflowExecutionInfo{
			Execution:        &commonpb.WorkflowExecution{WorkflowId: api.InstanceWorkflowID(i.InstanceID)},
			SearchAttributes: &commonpb.SearchAttributes{IndexedFields: fields},
		})
	}
	return response, nil
}

func every() applogs.Query {
	return applogs.Query{App: "hello", Index: -1, Streams: []string{applogs.Stdout, applogs.Stderr}, Lines: 100}
}

// busy is an app with two instances on two nodes, another that crashed, and one that was stopped.
func busy(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.serve("north")
	w.serve("south")
	w.start("stopped", 0, "north")
	w.start("crashed", 1, "north")
	w.say("crashed", applogs.Stderr, 2, "cannot go on")
	w.end("crashed", true)
	w.end("stopped", false)
	w.start("a", 0, "north")
	w.start("b", 1, "south")
	w.say("a", applogs.Stdout, 1, "begins")
	w.say("b", applogs.Stdout, 3, "begins")
	w.say("a", applogs.Stderr, 4, "grumbles")
	w.say("b", applogs.Stdout, 5, "goes on")
	w.say("a", applogs.Stdout, 6, "goes on")
	return w
}

var busyLines = []string{
	"00:00:01 0 a stdout begins", "00:00:02 1 crashed stderr cannot go on", "00:00:03 1 b stdout begins",
	"00:00:04 0 a stderr grumbles", "00:00:05 1 b stdout goes on", "00:00:06 0 a stdout goes on",
}

func TestLast(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*applogs.Query)
		want   []string
	}{
		"all":               {func(*applogs.Query) {}, busyLines},
		"the last":          {func(q *applogs.Query) { q.Lines = 2 }, busyLines[4:]},
		"one stream":        {func(q *applogs.Query) { q.Streams = []string{applogs.Stderr} }, []string{busyLines[1], busyLines[3]}},
		"one stream's last": {func(q *applogs.Query) { q.Streams, q.Lines = []string{applogs.Stderr}, 1 }, busyLines[3:4]},
		"one index":         {func(q *applogs.Query) { q.Index = 1 }, []string{busyLines[1], busyLines[2], busyLines[4]}},
		"since":             {func(q *applogs.Query) { q.Since = time.Date(2026, 1, 1, 0, 0, 5, 0, time.UTC) }, busyLines[4:]},
	} {
		w := busy(t)
		q := every()
		c.change(&q)
		require.NoError(t, w.Last(t.Context(), q), name)
		lines, warnings := w.said()
		require.Equal(t, c.want, lines, name)
		require.Empty(t, warnings, name)
	}
}

func TestNothingToReadIsTold(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.Last(t.Context(), every()))
	_, warnings := w.said()
	require.Equal(t, []string{"hello has no instances now, and no crash of it is kept"}, warnings)
	q := every()
	q.Index = 2
	require.ErrorIs(t, w.Last(t.Context(), q), controller.ErrNoSuchInstance)
	w.app = nil
	require.ErrorIs(t, w.Last(t.Context(), every()), controller.ErrNoSuchApp)
	require.ErrorIs(t, w.Follow(t.Context(), every()), controller.ErrNoSuchApp)
}

func TestANodeThatIsAwayIsTold(t *testing.T) {
	w := busy(t)
	w.stop("south")
	require.NoError(t, w.Last(t.Context(), every()))
	lines, warnings := w.said()
	require.Equal(t, []string{busyLines[0], busyLines[1], busyLines[3], busyLines[5]}, lines)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "instance b")
	require.NotContains(t, warnings[0], "hmac")
}

func (w *world) instances() []api.InstanceStatus {
	if w.app == nil {
		return nil
	}
	return w.app.Instances
}
