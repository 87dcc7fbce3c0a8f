package activities_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/runspec"
)

func (n *node) cloudController(url string) (*activities.CloudController, *bytes.Buffer) {
	var log bytes.Buffer
	return activities.NewCloudController(activities.CloudControllerDeps{
		URL: url, Workspaces: n.workspaces, Droplets: n.droplets, HTTP: n.http,
		Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace}),
	}), &log
}

// built is a workspace as the runner leaves it.
func (n *node) built(t *testing.T, droplet, cache []byte) {
	t.Helper()
	space, err := n.workspaces.Create("task")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(space.Out(), runspec.FileDroplet), droplet, 0o600))
	if cache != nil {
		require.NoError(t, os.WriteFile(filepath.Join(space.Out(), runspec.FileBuildpackCache), cache, 0o600))
	}
	result := runspec.Result{DropletSHA1: sum(droplet), DropletSize: int64(len(droplet))}
	require.NoError(t, result.Write(filepath.Join(space.Out(), runspec.FileResult)))
}

// controller takes uploads as the cloud controller does.
type controller struct {
	*store
	// received are the files of the forms, by path; statuses are what a job answers, one after another.
	received map[string][]byte
	statuses []string
	// upload, if set, answers a droplet's upload in its stead.
	upload func(http.ResponseWriter, *http.Request)
	polls  int
	query  string
}

func newController(t *testing.T) *controller {
	t.Helper()
	c := &controller{store: newStore(t), received: map[string][]byte{}}
	c.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if _, password, _ := r.BasicAuth(); password != secret {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case r.URL.Path == "/droplet" && c.upload != nil:
			c.upload(w, r)
		case r.URL.Path == "/droplet":
			c.query = r.URL.RawQuery
			c.take(r)
			w.WriteHeader(http.StatusCreated)
			c.job(w)
		case r.URL.Path == "/newcache":
			c.take(r)
		case r.URL.Path == "/jobs/1":
			c.polls++
			c.job(w)
		default:
			return false
		}
		return true
	}
	return c
}

// take keeps what is uploaded, for the test to look at: nothing of what its sender breaks off, as it does with the cache once
// the droplet is refused.
func (c *controller) take(r *http.Request) {
	file, _, err := r.FormFile("upload[droplet]")
	if err != nil {
		return
	}
	defer file.Close()
	if content, err := io.ReadAll(file); err == nil {
		c.received[r.URL.Path] = content
	}
}

// job answers with the next status; one that is a number is an HTTP status.
func (c *controller) job(w http.ResponseWriter) {
	if len(c.statuses) == 0 {
		return
	}
	status := c.statuses[0]
	c.statuses = c.statuses[1:]
	var code int
	if n, _ := fmt.Sscan(status, &code); n == 1 {
		w.WriteHeader(code)
		return
	}
	if status == "broken" {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, `{"metadata":{"guid":"1","created_at":"now","url":"/jobs/1"},"entity":{"guid":"1","status":%q}}`, status)
}

func (n *node) upload(t *testing.T, c *controller) (activities.UploadResult, string, error) {
	t.Helper()
	cc, log := n.cloudController("")
	result, err := execute(t.Context(), t, cc.Upload, activities.UploadParams{Request: stagingRequest(c.store)})
	require.NotContains(t, log.String(), secret)
	return result, log.String(), err
}

func TestUpload(t *testing.T) {
	n, c := newNode(t), newController(t)
	droplet, cache := bytes.Repeat([]byte("droplet"), 100_000), []byte("the new cache")
	n.built(t, droplet, cache)
	for range 2 {
		c.statuses = []string{"queued", "running", "500", "broken", "running", "finished"}
		result, _, err := n.upload(t, c)
		require.NoError(t, err)
		require.Equal(t, activities.UploadResult{
			DropletSHA1: sum(droplet), DropletBytes: int64(len(droplet)), CacheBytes: int64(len(cache)),
		}, result)
		require.Equal(t, droplet, c.received["/droplet"])
		require.Equal(t, cache, c.received["/newcache"])
		require.Equal(t, "signature="+secret+"&async=true", c.query)
		path, err := n.droplets.Path(sum(droplet))
		require.NoError(t, err)
		requireFile(t, path, droplet)
	}
	require.Equal(t, 10, c.polls)
	path, err := n.droplets.Path(sum(droplet))
	require.NoError(t, err)
	inCache, err := os.Stat(path)
	require.NoError(t, err)
	inWorkspace, err := os.Stat(filepath.Join(n.workspaces.Path("task").Out(), runspec.FileDroplet))
	require.NoError(t, err)
	require.True(t, os.SameFile(inCache, inWorkspace), "not copied")
}

func TestUploadThatIsDoneAtOnce(t *testing.T) {
	for name, body := range map[string]string{
		"no body": "", "no JSON": "ok", "no url": `{"metadata":{}}`, "finished": `{"metadata":{"url":"/jobs/1"},"entity":{"status":"finished"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			n, c := newNode(t), newController(t)
			n.built(t, []byte("droplet"), nil)
			c.upload = func(w http.ResponseWriter, r *http.Request) { c.take(r); _, _ = w.Write([]byte(body)) }
			result, _, err := n.upload(t, c)
			require.NoError(t, err)
			require.Zero(t, result.CacheBytes)
			require.Zero(t, c.polls)
		})
	}
}

// change is what a case of TestUploadFaults may change.
type change struct {
	t          *testing.T
	node       *node
	controller *controller
}

func TestUploadFaults(t *testing.T) {
	const refused = "the droplet was refused"
	for name, c := range map[string]struct {
		change func(change)
		kind   api.ErrorType
		final  bool
		words  string
	}{
		"job failed":        {func(c change) { c.controller.statuses = []string{"queued", "failed"} }, api.ErrStager, true, "could not store the droplet"},
		"job gone":          {func(c change) { c.controller.statuses = []string{"queued", "404"} }, api.ErrStager, true, "the droplet is not there"},
		"refused":           {func(c change) { c.controller.upload = status(http.StatusUnprocessableEntity) }, api.ErrStager, true, refused},
		"at fault":          {func(c change) { c.controller.upload = status(http.StatusServiceUnavailable) }, api.ErrControllerUnreachable, false, "answered 503"},
		"away":              {func(c change) { c.controller.Close() }, api.ErrControllerUnreachable, false, "cannot be reached"},
		"another droplet":   {func(c change) { c.node.replace(c.t, runspec.FileDroplet, "other") }, api.ErrStager, true, "not the one that the build made"},
		"no result":         {func(c change) { c.node.remove(c.t, runspec.FileResult) }, api.ErrStager, true, "left no result"},
		"no droplet":        {func(c change) { c.node.remove(c.t, runspec.FileDroplet) }, api.ErrStager, true, "left no droplet"},
		"droplet is a link": {func(c change) { c.node.link(c.t, runspec.FileDroplet) }, api.ErrStager, true, "left no droplet"},
		"result is a link":  {func(c change) { c.node.link(c.t, runspec.FileResult) }, api.ErrStager, true, "left no result"},
	} {
		t.Run(name, func(t *testing.T) {
			n, cc := newNode(t), newController(t)
			n.built(t, []byte("droplet"), []byte("cache"))
			c.change(change{t, n, cc})
			_, _, err := n.upload(t, cc)
			requireFault(t, err, c.kind, c.final, c.words)
			if name != "job failed" && name != "job gone" {
				_, ok := n.droplets.Has(sum([]byte("other")))
				require.False(t, ok)
			}
		})
	}
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(code)
	}
}

func (n *node) out(name string) string { return filepath.Join(n.workspaces.Path("task").Out(), name) }

func (n *node) replace(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(n.out(name), []byte(content), 0o600))
}

func (n *node) remove(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, os.Remove(n.out(name)))
}

func (n *node) link(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, os.Rename(n.out(name), n.out("elsewhere")))
	require.NoError(t, os.Symlink(n.out("elsewhere"), n.out(name)))
}

func TestUploadWithoutTheCache(t *testing.T) {
	n, c := newNode(t), newController(t)
	n.built(t, []byte("droplet"), []byte("cache"))
	request := stagingRequest(c.store)
	request.BuildpackCacheUploadURI = "http://u:" + secret + "@127.0.0.1:1/?s=" + secret
	cc, log := n.cloudController("")
	result, err := execute(t.Context(), t, cc.Upload, activities.UploadParams{Request: request})
	require.NoError(t, err)
	require.Zero(t, result.CacheBytes)
	require.Contains(t, log.String(), "buildpack cache not kept")
	require.NotContains(t, log.String(), secret)
}

func TestUploadEndsWithItsContext(t *testing.T) {
	n, c := newNode(t), newController(t)
	n.built(t, []byte("droplet"), nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.upload = func(w http.ResponseWriter, r *http.Request) {
		c.take(r)
		c.statuses = []string{"queued"}
		for range 10_000 {
			c.statuses = append(c.statuses, "running")
		}
		c.job(w)
		cancel()
	}
	cc, _ := n.cloudController("")
	_, err := execute(ctx, t, cc.Upload, activities.UploadParams{Request: stagingRequest(c.store)})
	require.ErrorContains(t, err, "cancel")
}

func TestReport(t *testing.T) {
	n, s := newNode(t), newStore(t)
	var got map[string]any
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		_, password, _ := r.BasicAuth()
		assert.Equal(t, "POST /internal/dea/staging/app%2F1/completed application/json "+secret,
			strings.Join([]string{r.Method, r.URL.EscapedPath(), r.Header.Get("Content-Type"), password}, " "))
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&got))
		return true
	}
	cc, log := n.cloudController("http://u:" + secret + "@" + s.Listener.Addr().String() + "/")
	result := api.StagingResult{
		TaskID: "t", AppID: "app/1", NodeID: "n", DetectedBuildpack: "Go", BuildpackKey: "go", DropletSHA1: "abc",
		DetectedStartCommand: "./web", Procfile: map[string]string{"web": "./web"},
	}
	_, err := execute(t.Context(), t, silently(cc.Report), activities.ReportParams{Result: result})
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"task_id": "t", "app_id": "app/1", "dea_id": "n", "detected_buildpack": "Go", "buildpack_key": "go",
		"droplet_sha1": "abc", "detected_start_command": "./web", "procfile": map[string]any{"web": "./web"},
	}, got)
	require.NotContains(t, log.String(), secret)

	result.Error, result.ErrorInfo = "words", &api.ErrorInfo{Type: api.ErrStager, Message: "words"}
	got = nil
	_, err = execute(t.Context(), t, silently(cc.Report), activities.ReportParams{Result: result})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"type": "StagerError", "message": "words"}, got["error_info"])
	require.Equal(t, "words", got["error"])
}

func TestReportFaults(t *testing.T) {
	n := newNode(t)
	for code, final := range map[int]bool{
		404: false, 500: false, 503: false, 429: false, 400: true, 401: true, 422: true, 302: true, 304: true,
	} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			s := newStore(t)
			s.answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true }
			cc, _ := n.cloudController(s.url(""))
			_, err := execute(t.Context(), t, silently(cc.Report), activities.ReportParams{})
			requireFault(t, err, api.ErrControllerUnreachable, final, "")
		})
	}
	down := newStore(t)
	down.Close()
	cc, _ := n.cloudController("http://u:" + secret + "@" + down.Listener.Addr().String())
	_, err := execute(t.Context(), t, silently(cc.Report), activities.ReportParams{})
	requireFault(t, err, api.ErrControllerUnreachable, false,
		"the cloud controller at "+down.Listener.Addr().String()+" cannot be reached")
	cc, _ = n.cloudController("")
	_, err = execute(t.Context(), t, silently(cc.Report), activities.ReportParams{})
	require.NoError(t, err, "nobody to tell")
}
