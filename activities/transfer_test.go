package activities_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/buildpackstore"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/internal/fetch"
	"github.com/durable-dea/dea/internal/workspace"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// execute runs one activity as a worker would, with a context that the test may end.
func execute[In, Out any](ctx context.Context, t *testing.T, do func(context.Context, In) (Out, error), in In) (Out, error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(worker.Options{BackgroundActivityContext: ctx})
	env.SetTestTimeout(time.Minute)
	env.RegisterActivity(do)
	var out Out
	value, err := env.ExecuteActivity(do, in)
	if err == nil {
		err = value.Get(&out)
	}
	return out, err
}

// silently makes an activity without a result look like the others.
func silently[In any](do func(context.Context, In) error) func(context.Context, In) (activities.None, error) {
	return func(ctx context.Context, in In) (activities.None, error) { return activities.None{}, do(ctx, in) }
}

// requireFault checks an error as a workflow sees it.
func requireFault(t *testing.T, err error, kind api.ErrorType, final bool, words string) {
	t.Helper()
	var app *temporal.ApplicationError
	require.ErrorAs(t, err, &app)
	require.Equal(t, string(kind), app.Type())
	require.Equal(t, final, app.NonRetryable())
	require.Contains(t, app.Message(), words)
	require.NotContains(t, err.Error(), secret)
	for cause := error(app); cause != nil; cause = errors.Unwrap(cause) {
		require.NotContains(t, cause.Error(), secret)
	}
}

// secret stands in the URLs of all tests, as password and as signature.
const secret = "hunter2"

// node is the disk and the HTTP client of a node.
type node struct {
	base       string
	config     *config.Node
	workspaces *workspace.Store
	droplets   *droplets.Store
	http       *fetch.Client
}

func newNode(t *testing.T) *node {
	t.Helper()
	base := t.TempDir()
	configuration := config.DefaultNode()
	configuration.BaseDir = base
	client := fetch.New(fetch.Options{})
	t.Cleanup(client.Close)
	return &node{base, &configuration, workspace.New(base), droplets.New(base), client}
}

func (n *node) packages() *activities.Packages {
	return activities.NewPackages(activities.PackagesDeps{
		Config: n.config, Workspaces: n.workspaces, Buildpacks: buildpackstore.New(n.base, n.http), HTTP: n.http,
		Log: hclog.NewNullLogger(),
	})
}

// store is an HTTP server with files, which asks for the password.
type store struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	asked map[string]int
	// answer, if set, may answer in the store's stead.
	answer func(http.ResponseWriter, *http.Request) bool
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{files: map[string][]byte{}, asked: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// url is a file's URL with all that is secret in it.
func (s *store) url(path string) string {
	return "http://staging:" + secret + "@" + s.Listener.Addr().String() + path + "?signature=" + secret
}

func (s *store) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

func (s *store) put(path string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = content
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.Path]++
	content, ok := s.files[r.URL.Path]
	answer := s.answer
	s.mu.Unlock()
	_, password, _ := r.BasicAuth()
	switch {
	case answer != nil && answer(w, r):
	case password != secret:
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodPost:
		_, _ = io.Copy(io.Discard, r.Body)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

func buildpackZip(t *testing.T) []byte {
	t.Helper()
	const script = "#!/bin/sh\n"
	return zipFiles(t, map[string]string{"bin/detect": script, "bin/compile": script, "bin/release": script})
}

// zipFiles makes a zip of programs.
func zipFiles(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		h := &zip.FileHeader{Name: name}
		h.SetMode(0o755)
		f, err := w.CreateHeader(h)
		require.NoError(t, err)
		_, err = f.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func sum(content []byte) string {
	s := sha1.Sum(content)
	return hex.EncodeToString(s[:])
}

func requireFile(t *testing.T, path string, content []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, content, got, filepath.Base(path))
}
