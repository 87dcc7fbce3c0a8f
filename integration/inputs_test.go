package integration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/runspec"
)

// TestBadPackages gives the platform packages that no user should be able to do harm with, and some that are only
// broken. Each ends its workflow with the reference's error type and words for the user, and leaves nothing behind.
func TestBadPackages(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	const neither = "is neither a file nor a directory nor a link"
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct {
			content []byte
			words   string
		}{
			"climbs out":              {zipOf(t, file("../../../../evil", "x")), "evil"},
			"climbs within":           {zipOf(t, file("a/../../evil", "x")), `leaves the directory with ".."`},
			"absolute name":           {zipOf(t, file(outside, "x")), "outside"},
			"backslashes climb":       {zipOf(t, file(`..\..\evil`, "x")), `leaves the directory with ".."`},
			"drive":                   {zipOf(t, file(`C:\evil`, "x")), "is an absolute name"},
			"NUL in a name":           {zipOf(t, file("run\x00.txt", "x")), "NUL"},
			"no name":                 {zipOf(t, file("", "x")), "without a name"},
			"name twice":              {zipOf(t, file("run", "x"), file("run", "y")), "is there twice"},
			"link that leaves":        {zipOf(t, link("way", filepath.Dir(outside)), file("way/outside", "x")), "way"},
			"link to what is out":     {zipOf(t, link("secrets", "/etc/passwd")), "leads out of the directory"},
			"link that climbs out":    {zipOf(t, file("a/b", "x"), link("a/way", "../../..")), "leads out of the directory"},
			"links in a circle":       {zipOf(t, link("a", "b"), link("b", "a")), "leads in a circle"},
			"device":                  {zipOf(t, special("null", fs.ModeDevice|fs.ModeCharDevice)), neither},
			"pipe":                    {zipOf(t, special("pipe", fs.ModeNamedPipe)), neither},
			"Procfile that is a pipe": {zipOf(t, special("Procfile", fs.ModeNamedPipe)), neither},
			"name not UTF-8":          {zipOf(t, entry{name: "caf\xe9", content: "x", mode: 0o644, raw: true}), "UTF-8"},
			"not a zip":               {[]byte("#!/bin/sh\necho this is no zip\n"), "not a zip"},
			"nothing":                 {nil, "not a zip"},
			"zip cut off":             {cutOff(t), "zip"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				info := fails(t, stagingOf(t, c.content, buildpack{}), api.ErrStaging)
				assert.Contains(t, info.Message, c.words)
				assert.NoFileExists(t, outside)
			})
		}
	})
	clean(t, shared)
}

// special is an entry of a zip that is no file.
func special(name string, kind fs.FileMode) entry { return entry{name: name, mode: kind | 0o666} }

// TestBadProcfiles has Procfiles that are none.
func TestBadProcfiles(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct {
			procfile entry
			words    string
		}{
			"list":      {file("Procfile", "- web\n- worker\n"), "Invalid Procfile format"},
			"text":      {file("Procfile", "web bash ./run\n"), "Invalid Procfile format"},
			"no YAML":   {file("Procfile", "web: [\n"), "Invalid Procfile format"},
			"of lists":  {file("Procfile", "web: [bash, ./run]\n"), "Invalid Procfile format"},
			"large":     {file("Procfile", "web: bash ./run\n"+strings.Repeat("# no more\n", 200_000)), "is larger than"},
			"YAML bomb": {file("Procfile", yamlBomb("web: ")), "Procfile"},
			"directory": {file("Procfile/web", "bash ./run"), "it is not a file"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				info := fails(t, stagingOf(t, zipOf(t, c.procfile, file("run", "true")), buildpack{}), api.ErrStaging)
				assert.Contains(t, info.Message, c.words)
			})
		}
	})
	clean(t, shared)
}

// yamlBomb is YAML of a kilobyte that means gibibytes, behind what it is the value of.
func yamlBomb(key string) string {
	text := "a0: &a0 lol\n"
	for n := range 10 {
		text += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", n+1, n+1, strings.Repeat(fmt.Sprintf("*a%d, ", n), 9), n)
	}
	return text + key + "*a10\n"
}

// cutOff is the first half of a zip.
func cutOff(t *testing.T) []byte {
	t.Helper()
	whole := zipOf(t, file("run", strings.Repeat("true\n", 100)))
	return whole[:len(whole)/2]
}

// TestBuildpackFails has a buildpack fail in each of its phases.
func TestBuildpackFails(t *testing.T) {
	const large = "head -c 2097152 /dev/zero | tr '\\0' x"
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct {
			pack  buildpack
			want  api.ErrorType
			words string
		}{
			"detect":                   {buildpack{detect: "exit 1"}, api.ErrNoAppDetected, "could not be detected"},
			"compile":                  {buildpack{compile: "echo no compiler here; exit 7"}, api.ErrBuildpackCompile, runspec.WordsCompile},
			"compile killed by signal": {buildpack{compile: "kill -9 $$"}, api.ErrBuildpackCompile, runspec.WordsCompile},
			"release":                  {buildpack{release: "exit 3"}, api.ErrBuildpackRelease, "exit status 3"},
			"release that is no YAML":  {buildpack{release: "printf 'a: [b'"}, api.ErrBuildpackRelease, "did not print a YAML hash"},
			"release that is a list":   {buildpack{release: "echo '- web: bash ./run'"}, api.ErrBuildpackRelease, "did not print a YAML hash"},
			"release that is a text":   {buildpack{release: "echo bash ./run"}, api.ErrBuildpackRelease, "did not print a YAML hash"},
			"release of 2 MiB":         {buildpack{release: "printf 'web: '; " + large}, api.ErrBuildpackRelease, "printed more than"},
			"release that is a bomb": {
				buildpack{release: "cat <<'BOMB'\n" + yamlBomb("default_process_types: ") + "BOMB"}, api.ErrBuildpackRelease, "bin/release",
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				info := fails(t, stagingOf(t, zipOf(t, file("run", "true")), c.pack), c.want)
				assert.Contains(t, info.Message, c.words)
			})
		}
	})
	clean(t, shared)
}

// TestControllerUnreachable stages an app whose package cannot be had: nobody listens where it should be.
func TestControllerUnreachable(t *testing.T) {
	request := stagingOf(t, zipOf(t, file("run", "true")), buildpack{})
	request.DownloadURI = "http://staging:secret-of-the-package@" + deadAddress(t) + "/package"
	info := stagingFails(t, request, api.ErrStager)
	assert.NotContains(t, info.Message, "secret-of-the-package")
}

// TestUploadUnreachable builds an app whose droplet at first finds nobody who takes it: what took a build to make is offered
// again until the cloud controller is back. That one which never is ends in an error, a quarter of an hour later, is the
// workflow's own test.
func TestUploadUnreachable(t *testing.T) {
	request := stagingOf(t, zipOf(t, file("run", "true")), buildpack{})
	taker, err := url.Parse(request.UploadURI)
	require.NoError(t, err)
	away := *taker
	away.Host = deadAddress(t)
	request.UploadURI = away.String()
	staging, err := shared.Control.Stage(t.Context(), request)
	require.NoError(t, err)
	eventually(t, later, func() error { return uploadIsTriedAgain(t.Context(), request) })

	listener, err := net.Listen("tcp", away.Host)
	require.NoError(t, err)
	back := &httptest.Server{
		Listener: listener,
		Config:   &http.Server{Handler: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: taker.Scheme, Host: taker.Host})},
	}
	back.Start()
	defer back.Close()
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	result, err := staging.Wait(ctx)
	require.NoError(t, err)
	assert.Regexp(t, "^[0-9a-f]{40}$", result.DropletSHA1)
	clean(t, shared)
}

// uploadIsTriedAgain fails unless the upload of a staging's droplet has failed before, for want of somebody who takes it.
func uploadIsTriedAgain(ctx context.Context, request api.StagingRequest) error {
	described, err := shared.Temporal.DescribeWorkflowExecution(ctx, api.StageWorkflowID(request.AppID, request.TaskID), "")
	if err != nil {
		return err
	}
	for _, pending := range described.GetPendingActivities() {
		if pending.GetActivityType().GetName() == activities.UploadDroplet.Name() && pending.GetLastFailure() != nil {
			return nil
		}
	}
	return errors.New("no upload has failed")
}

// TestBadApps runs apps that cannot become healthy. Each says why in words that users know, is tried again as the
// restart policy has it, and leaves nothing once it is deleted.
func TestBadApps(t *testing.T) {
	for name, c := range map[string]struct {
		run   string
		spoil func(*api.StartMessage)
		words string
	}{
		"does not listen": {
			run: "sleep 3600", spoil: func(m *api.StartMessage) { m.HealthCheckTimeout = 1 }, words: api.ExitHealthCheck,
		},
		"ends at once": {run: "echo cannot go on >&2; exit 42", words: api.ExitAppExited},
		"wrong SHA-1": {
			run: "sleep 3600", words: "SHA-1",
			spoil: func(m *api.StartMessage) { m.SHA1 = strings.Repeat("0123456789", 4) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			app := "bad-" + strings.ReplaceAll(strings.ToLower(name), " ", "-")
			result := staged(t, app, zipOf(t, file("run", c.run)), buildpack{})
			spec, err := shared.AppSpec(t.Context(), app, result.DropletSHA1)
			require.NoError(t, err)
			if c.spoil != nil {
				c.spoil(&spec.Message)
			}
			_, err = shared.Control.Run(t.Context(), spec)
			require.NoError(t, err)
			defer remove(t, shared, app)
			var status api.AppStatus
			require.Eventually(t, func() bool {
				status, err = shared.Control.App(t.Context(), app)
				return err == nil && strings.Contains(status.Problem, c.words) && status.RetryAt != nil
			}, later, pause, "the app never says %q", c.words)
			crashed := status.Instances[0]
			assert.Equal(t, api.StateCrashed, crashed.State)
			assert.Contains(t, crashed.Exit.Description, c.words)
			// Between two tries there is nothing of it: no container, no reservation.
			clean(t, shared)
			eventually(t, soon, func() error {
				described, err := shared.Temporal.DescribeWorkflow(t.Context(), api.InstanceWorkflowID(crashed.InstanceID), "")
				if err == nil && described.Status != enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED {
					err = fmt.Errorf("its workflow is %s", described.Status)
				}
				return err
			})
		})
	}
}

// TestUnplaceable asks for more memory than any node has.
func TestUnplaceable(t *testing.T) {
	request := stagingOf(t, zipOf(t, file("run", "true")), buildpack{})
	request.MemoryLimit = 1 << 24 // the most that a request may ask for
	info := stagingFails(t, request, api.ErrInsufficientResources)
	assert.Equal(t, api.NotEnough(api.ConstraintMemory), info.Message)
}

// deadAddress is where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// stagingOf uploads a package as that of an app of the test's own, and makes the request to stage it with a buildpack.
func stagingOf(t *testing.T, content []byte, pack buildpack) api.StagingRequest {
	t.Helper()
	app := "app-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	return stagingRequestOf(t, app, content, pack)
}

// staged stages an app that can be staged.
func staged(t *testing.T, app string, content []byte, pack buildpack) api.StagingResult {
	t.Helper()
	request := stagingRequestOf(t, app, content, pack)
	staging, err := shared.Control.Stage(t.Context(), request)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	result, err := staging.Wait(ctx)
	require.NoError(t, err)
	return result
}

// stagingFails is fails, and that nothing at all is left.
func stagingFails(t *testing.T, request api.StagingRequest, want api.ErrorType) api.ErrorInfo {
	t.Helper()
	info := fails(t, request, want)
	clean(t, shared)
	return info
}

// TestDirectoriesStayPrivate: what a node keeps is for its own user alone, since droplets and workspaces hold secrets.
func TestDirectoriesStayPrivate(t *testing.T) {
	for _, dir := range []string{".", "nodes/1/base", "nodes/1/depot"} {
		info, err := os.Stat(filepath.Join(shared.Data, dir))
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&0o077, "%s is %s", dir, info.Mode())
	}
}
