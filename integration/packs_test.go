package integration

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// packOf are the files of a buildpack of testdata/buildpacks; what can be executed there can be in a zip.
func packOf(t *testing.T, name string) []entry {
	t.Helper()
	return filesOf(t, filepath.Join("testdata", "buildpacks", name))
}

func filesOf(t *testing.T, dir string) []entry {
	t.Helper()
	var entries []entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		entries = append(entries, entry{name: filepath.ToSlash(name), content: string(content), mode: info.Mode()})
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	return entries
}

// offer serves a buildpack of testdata as an operator's zip, under a key that no other test has.
func offer(t *testing.T, name string, more ...entry) api.AdminBuildpack {
	t.Helper()
	return offerZip(t, name, zipOf(t, append(packOf(t, name), more...)...))
}

func offerZip(t *testing.T, name string, content []byte) api.AdminBuildpack {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(content)
	}))
	t.Cleanup(server.Close)
	return api.AdminBuildpack{Key: name + "-" + uuid.NewString(), URL: server.URL + "/" + name + ".zip"}
}

// asksFor uploads a package as that of an app of the test's own, and makes the request to stage it with buildpacks of the
// operator's.
func asksFor(t *testing.T, content []byte, packs ...api.AdminBuildpack) api.StagingRequest {
	t.Helper()
	app := "app-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name()))
	require.NoError(t, shared.Upload(t.Context(), app, content))
	request, err := shared.StagingRequest(t.Context(), app)
	require.NoError(t, err)
	request.AdminBuildpacks = packs
	return request
}

// ends stages to the end, whatever that is.
func ends(t *testing.T, request api.StagingRequest) (api.StagingResult, error) {
	t.Helper()
	staging, err := shared.Control.Stage(t.Context(), request)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	return staging.Wait(ctx)
}

// stages checks all that a staging that works must do: its workflow is completed, the controller was told the same, and
// nothing is left.
func stages(t *testing.T, request api.StagingRequest) api.StagingResult {
	t.Helper()
	result, err := ends(t, request)
	if err != nil {
		t.Log(logOf(t, request))
	}
	require.NoError(t, err)
	require.Regexp(t, "^[0-9a-f]{40}$", result.DropletSHA1)
	closed(t, request, enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED)
	told, err := shared.Callback(t.Context(), request.AppID, request.TaskID)
	require.NoError(t, err)
	assert.Equal(t, result, told)
	gone(t, request)
	return result
}

// fails is stages for a staging that must fail: with the type, and with words for a user.
func fails(t *testing.T, request api.StagingRequest, want api.ErrorType) api.ErrorInfo {
	t.Helper()
	result, err := ends(t, request)
	require.ErrorIs(t, err, controller.ErrStagingFailed)
	require.NotNil(t, result.ErrorInfo)
	info := *result.ErrorInfo
	assert.Equal(t, want, info.Type, info.Message)
	assert.NotEmpty(t, info.Message)
	assert.NotContains(t, info.Message, shared.Data, "a user has no use for a path of the node's")
	assert.NotContains(t, info.Message, "internal error")
	closed(t, request, enumspb.WORKFLOW_EXECUTION_STATUS_FAILED)

	told, err := shared.Callback(t.Context(), request.AppID, request.TaskID)
	require.NoError(t, err)
	require.NotNil(t, told.ErrorInfo)
	assert.Equal(t, info, *told.ErrorInfo)
	assert.Empty(t, told.DropletSHA1)
	gone(t, request)
	return info
}

func closed(t *testing.T, request api.StagingRequest, as enumspb.WorkflowExecutionStatus) {
	t.Helper()
	workflow := api.StageWorkflowID(request.AppID, request.TaskID)
	description, err := shared.Temporal.DescribeWorkflow(t.Context(), workflow, "")
	require.NoError(t, err)
	assert.Equal(t, as, description.Status)
}

// gone waits until nothing of one staging is left on the nodes, whatever else goes on there.
func gone(t *testing.T, request api.StagingRequest) {
	t.Helper()
	eventually(t, soon, func() error {
		var left []error
		for _, pattern := range []string{"depot/containers/*", "base/staging/*"} {
			found, err := filepath.Glob(filepath.Join(shared.Data, "nodes", "*", pattern))
			left = append(left, err)
			for _, dir := range found {
				if strings.Contains(filepath.Base(dir), request.TaskID) {
					left = append(left, errors.New("left: "+dir))
				}
			}
		}
		for _, node := range shared.Nodes {
			status, err := shared.Control.Node(t.Context(), node.ID)
			left = append(left, err)
			for _, reservation := range status.Reservations {
				if reservation.ID == api.StagingHandle(request.TaskID) {
					left = append(left, fmt.Errorf("reservation left at %s", node.ID))
				}
			}
		}
		return errors.Join(left...)
	})
}

// logOf is the log of a staging that is over, as a client reads it from the node.
func logOf(t *testing.T, request api.StagingRequest) string {
	t.Helper()
	status, err := shared.Control.Staging(request.AppID, request.TaskID).Status(t.Context())
	require.NoError(t, err)
	url := shared.Control.FileURL(controller.StagingFiles, request.TaskID, status.FilesURL, controller.StagingLog, false)
	code, log, err := stack.Get(t.Context(), url)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, code, log)
	return log
}

// member is one file, directory or link of a droplet.
type member struct {
	content, link string
	mode          fs.FileMode
}

// dropletOf unpacks a droplet as the cloud controller has it, and checks that it is the one that was promised.
func dropletOf(t *testing.T, app, sha1 string) map[string]member {
	t.Helper()
	spec, err := shared.AppSpec(t.Context(), app, sha1)
	require.NoError(t, err)
	code, droplet, err := stack.Get(t.Context(), spec.Message.ExecutableURI)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, sha1, sha1Of(droplet))
	unzipped, err := gzip.NewReader(strings.NewReader(droplet))
	require.NoError(t, err)
	members := map[string]member{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return members
		}
		require.NoError(t, err)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		members[path.Clean(header.Name)] = member{string(content), header.Linkname, header.FileInfo().Mode()}
	}
}

// runs starts one instance of a droplet; spoil, when not nil, changes how. It is deleted when the test is over.
func runs(t *testing.T, app, sha1 string, spoil func(*api.StartMessage)) api.InstanceStatus {
	t.Helper()
	spec, err := shared.AppSpec(t.Context(), app, sha1)
	require.NoError(t, err)
	if spoil != nil {
		spoil(&spec.Message)
	}
	_, err = shared.Control.Run(t.Context(), spec)
	require.NoError(t, err)
	t.Cleanup(func() { // and no look at the whole node: others may be at work there
		ctx := context.WithoutCancel(t.Context())
		_, err := shared.Control.Delete(ctx, app, "the test is over")
		require.NoError(t, err)
		require.NoError(t, shared.Control.AwaitGone(ctx, app))
	})
	eventually(t, later, func() error { return hasInstances(t.Context(), app, 1) })
	status, err := shared.Control.App(t.Context(), app)
	require.NoError(t, err)
	return status.Instances[0]
}

// says waits until an instance of an app has written all of some words.
func says(t *testing.T, app string, words ...string) {
	t.Helper()
	eventually(t, soon, func() error {
		out, err := shared.Starter(t.Context(), "logs", app)
		for _, word := range words {
			if err == nil && !strings.Contains(out, word) {
				err = fmt.Errorf("%s does not say %q but %q", app, word, out)
			}
		}
		return err
	})
}

// deaf is a start message of an app that listens nowhere: running is healthy enough.
func deaf(m *api.StartMessage) { m.URIs = nil }

// nobodySleeps fails while a program sleeps for so many seconds, wherever it went.
func nobodySleeps(seconds string) error {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range lines {
		line, _ := os.ReadFile(name) // one that cannot be read has ended
		if strings.HasPrefix(string(line), "sleep\x00"+seconds) {
			err = errors.Join(err, fmt.Errorf("%s sleeps on", filepath.Dir(name)))
		}
	}
	return err
}

// longLog is what can be told of a log that is too long to be kept.
type longLog struct {
	size       int64
	begin, end string
}

func logFile(t *testing.T, request api.StagingRequest) longLog {
	t.Helper()
	status, err := shared.Control.Staging(request.AppID, request.TaskID).Status(t.Context())
	require.NoError(t, err)
	url := shared.Control.FileURL(controller.StagingFiles, request.TaskID, status.FilesURL, controller.StagingLog, false)
	get, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(get)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	content, err := io.ReadAll(response.Body) // bounded: that is what is tested
	require.NoError(t, err)
	const shown = 64 << 10
	whole := string(content)
	return longLog{int64(len(whole)), whole[:min(shown, len(whole))], whole[max(0, len(whole)-shown):]}
}
