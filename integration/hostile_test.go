package integration

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// TestSetuidIsDropped stages an app whose zip has files with the rights of others: it builds, without them.
func TestSetuidIsDropped(t *testing.T) {
	content := zipOf(t,
		entry{name: "run", content: "true", mode: 0o755 | fs.ModeSetuid | fs.ModeSetgid},
		entry{name: "dir/", mode: fs.ModeDir | 0o755 | fs.ModeSticky | fs.ModeSetgid}, file("dir/file", "x"),
	)
	request := stagingOf(t, content, buildpack{})
	droplet := dropletOf(t, request.AppID, stages(t, request).DropletSHA1)
	require.Contains(t, droplet, "app/run")
	for name, m := range droplet {
		assert.Zero(t, m.mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky), "%s is %s", name, m.mode)
	}
	assert.Equal(t, fs.FileMode(0o755), droplet["app/run"].mode.Perm())
}

// TestBadAdminBuildpacks has the operator offer zips that are no buildpacks: the platform's fault, which says whose.
func TestBadAdminBuildpacks(t *testing.T) {
	sound := packOf(t, "colours")
	without := func(mode fs.FileMode, name string) []entry {
		var files []entry
		for _, e := range sound {
			switch {
			case e.name != name:
			case mode == 0:
				continue
			default:
				e.mode = mode
			}
			files = append(files, e)
		}
		return files
	}
	inside := func(dir string) []entry {
		var files []entry
		for _, e := range sound {
			e.name = dir + "/" + e.name
			files = append(files, e)
		}
		return files
	}
	var huge bytes.Buffer
	require.NoError(t, zeros(&huge, 9<<30, 9<<30))
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct {
			content []byte
			words   []string
		}{
			"no bin":             {zipOf(t, strip(packOf(t, "colours"), "bin/")...), []string{"has no directory bin"}},
			"no compile":         {zipOf(t, without(0, "bin/compile")...), []string{"bin/compile"}},
			"not executable":     {zipOf(t, without(0o644, "bin/compile")...), []string{"bin/compile", "not executable"}},
			"in a directory":     {zipOf(t, inside("pack-main")...), []string{`"pack-main"`, "bin must be at the top of the zip"}},
			"empty":              {zipOf(t), []string{"is empty"}},
			"not a zip":          {[]byte("<html>404</html>"), []string{"no zip"}},
			"climbs out":         {zipOf(t, append(packOf(t, "colours"), file("../../evil", "x"))...), []string{"evil"}},
			"leads out":          {zipOf(t, append(packOf(t, "colours"), link("lib", "/etc"))...), []string{`"lib"`, "leads out"}},
			"bomb":               {huge.Bytes(), []string{"unpacks to more than 8192 MB"}},
			"a link for compile": {zipOf(t, append(without(0, "bin/compile"), link("bin/compile", "nothing"))...), []string{"bin/compile"}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				pack := offerZip(t, "bad", c.content)
				info := fails(t, asksFor(t, zipOf(t, file("run", "true")), pack), api.ErrStager)
				for _, words := range append(c.words, pack.Key) {
					assert.Contains(t, info.Message, words)
				}
				left, err := filepath.Glob(filepath.Join(shared.Data, "nodes", "*", "base", "admin_buildpacks", pack.Key+"*"))
				require.NoError(t, err)
				assert.Empty(t, left)
			})
		}
	})
	clean(t, shared)
}

// promising is a server that says how much it is going to send, and sends nothing of it.
func promising(t *testing.T, size int64) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		w.WriteHeader(http.StatusOK)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/file"
}

// TestTooLargeDownloads has servers offer more than a node takes.
func TestTooLargeDownloads(t *testing.T) {
	const large, words = 3 << 30, "is larger than 2048 MB, the most that this node takes"
	from := promising(t, large)
	t.Run("package", func(t *testing.T) {
		request := stagingOf(t, zipOf(t, file("run", "true")), buildpack{})
		request.DownloadURI = from
		assert.Equal(t, "the app's package "+words, fails(t, request, api.ErrStaging).Message)
	})
	t.Run("buildpack", func(t *testing.T) {
		request := stagingOf(t, zipOf(t, file("run", "true")), buildpack{})
		request.AdminBuildpacks[0].URL = from
		assert.Contains(t, fails(t, request, api.ErrStager).Message, words)
	})
	t.Run("cache", func(t *testing.T) {
		request := stagingOf(t, zipOf(t, file("run", "true")), buildpack{})
		request.BuildpackCacheDownloadURI = from
		stages(t, request)
		assert.NotContains(t, logOf(t, request), "buildpack cache")
	})
	clean(t, shared)
}

// leaveOut begins a compile that writes itself what the runner is to leave for the node, and ends the runner, so that it
// is the last who writes: OUT is where. Without isolation it may do anything there.
const leaveOut = `OUT="${HOME%/home/vcap}/tmp/dea/out"; cd "$OUT"
leave() { kill -9 $PPID; sleep 3600; }
result() { printf '{"detected_buildpack":"Forged","droplet_sha1":"%s"}\n' "$1" > "$OUT/result.json"; }
`

// TestForgedOutput has buildpacks write the result and the droplet themselves. What is not what it says it is, and what
// lies elsewhere on the node, is never uploaded.
func TestForgedOutput(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("a secret of the node's\n"), 0o600))
	ofSecret, other := sha1Of("a secret of the node's\n"), strings.Repeat("0123456789", 4)
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct{ script, words string }{
			"another SHA-1":         {"echo mine > droplet.tgz; result " + other, "is not the one that the build made"},
			"no SHA-1":              {"echo mine > droplet.tgz; result ''", "is not the one that the build made"},
			"no droplet":            {"rm droplet.tgz; result " + other, "left no droplet"},
			"link for the droplet":  {"rm droplet.tgz; ln -s " + secret + " droplet.tgz; result " + ofSecret, "left no droplet"},
			"pipe for the droplet":  {"rm droplet.tgz; mkfifo droplet.tgz; result " + other, "left no droplet"},
			"directory for it":      {"rm droplet.tgz; mkdir droplet.tgz; result " + other, "left no droplet"},
			"link for the result":   {"rm result.json; ln -s " + secret + " result.json", "result that cannot be read"},
			"pipe for the result":   {"rm result.json; mkfifo result.json", "result that cannot be read"},
			"result that is large":  {"yes | head -c 5000000 > result.json", "result that cannot be read"},
			"result that is no map": {"echo '[1]' > result.json", "result that cannot be read"},
			"result by half":        {"printf '{\"droplet_sha1\":' > result.json", "left no result"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := stagingOf(t, zipOf(t, file("run", "true")), buildpack{compile: leaveOut + c.script + "; leave"})
				info := fails(t, request, api.ErrStager)
				assert.Contains(t, info.Message, c.words)
				for _, digest := range []string{ofSecret, other} {
					assert.Equal(t, http.StatusNotFound, dropletStatus(t, request.AppID, digest), "something was uploaded")
				}
			})
		}
	})
	clean(t, shared)
	content, err := os.ReadFile(secret)
	require.NoError(t, err)
	require.Equal(t, "a secret of the node's\n", string(content), "and nothing is written where a link leads")
}

func dropletStatus(t *testing.T, app, sha1 string) int {
	t.Helper()
	spec, err := shared.AppSpec(t.Context(), app, sha1)
	require.NoError(t, err)
	status, _, err := stack.Get(t.Context(), spec.Message.ExecutableURI)
	require.NoError(t, err)
	return status
}

// TestForgedCache has a buildpack put a link in the place of its cache: nothing of where it leads reaches the next staging.
func TestForgedCache(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("a secret of the node's\n"), 0o600))
	forge := leaveOut + "echo mine > droplet.tgz; rm buildpack_cache.tgz; ln -s " + secret + ` buildpack_cache.tgz
result "$(sha1sum droplet.tgz | cut -d' ' -f1)"; leave`
	request := stagingOf(t, zipOf(t, file("run", "true")), buildpack{compile: forge})
	result := stages(t, request)
	assert.Equal(t, sha1Of("mine\n"), result.DropletSHA1, "a droplet is what a build makes")
	again := stagingOf(t, zipOf(t, file("run", "true")), buildpack{})
	stages(t, again)
	assert.NotContains(t, logOf(t, again), "buildpack cache")
}

// TestRacingOutput has what a buildpack leaves behind change the droplet for as long as it lives. Whatever comes of it,
// a droplet has the SHA-1 by which it is known.
func TestRacingOutput(t *testing.T) {
	const race = leaveOut + `export OUT
setsid bash -c 'while :; do echo x >> "$OUT/droplet.tgz"; done' >/dev/null 2>&1 &`
	request := stagingOf(t, zipOf(t, file("run", "true")), buildpack{compile: race})
	result, err := ends(t, request)
	gone(t, request)
	clean(t, shared)
	if err != nil {
		require.ErrorIs(t, err, controller.ErrStagingFailed)
		assert.Equal(t, api.ErrStager, result.ErrorInfo.Type)
		assert.Contains(t, result.ErrorInfo.Message, "is not the one that the build made")
		return
	}
	spec, err := shared.AppSpec(t.Context(), request.AppID, result.DropletSHA1)
	require.NoError(t, err)
	status, droplet, err := stack.Get(t.Context(), spec.Message.ExecutableURI)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, result.DropletSHA1, sha1Of(droplet))
}
