package integration

import (
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/runspec"
)

// infoOf is a droplet's staging_info.yml.
func infoOf(t *testing.T, droplet map[string]member) runspec.StagingInfo {
	t.Helper()
	require.Contains(t, droplet, "staging_info.yml")
	var info runspec.StagingInfo
	require.NoError(t, yaml.Unmarshal([]byte(droplet["staging_info.yml"].content), &info))
	return info
}

// staticd is the file server of our static buildpack, at a name of the test's choice.
func staticd(t *testing.T, name string) entry {
	t.Helper()
	bin, err := stack.Bin("staticd")
	require.NoError(t, err)
	content, err := os.ReadFile(bin)
	require.NoError(t, err)
	return program(name, string(content))
}

// TestClassicBuildpack stages an app twice with a buildpack as Heroku's are, after one that is not for it; and runs it.
func TestClassicBuildpack(t *testing.T) {
	other, classic := offer(t, "nodetect"), offer(t, "classic", staticd(t, "vendor/staticd"))
	content := zipOf(t, file("index.html", "<html>classic</html>"), link("home", "index.html"))
	request := asksFor(t, content, other, classic)
	request.Properties.Environment = []string{"GREETING=good morning, $STAGING_TIMEOUT"}
	first := stages(t, request)
	assert.Equal(t, "Classic 1.2", first.DetectedBuildpack)
	assert.Equal(t, classic.Key, first.BuildpackKey)
	assert.Equal(t, `echo "CLASSIC is $CLASSIC"; exec serve -root public`, first.DetectedStartCommand)
	log := logOf(t, request)
	inOrder(t, log, "-----> Downloaded app package (", "-----> Detected Classic 1.2", "-----> Installing the tool",
		"       built anew\n", "-----> Greeting: good morning, 900, for 256m and 900 s\n", "-----> Uploading droplet (")
	assert.NotContains(t, log, "Otherfile", "whom it is not for has nothing to tell")

	again := asksFor(t, content, other, classic)
	again.Properties.Environment = request.Properties.Environment
	second := stages(t, again)
	inOrder(t, logOf(t, again), "-----> Downloaded app package (", "-----> Downloaded app buildpack cache (", "       from cache\n")

	droplet := dropletOf(t, again.AppID, second.DropletSHA1)
	assert.Equal(t, "<html>classic</html>", droplet["app/public/index.html"].content)
	assert.NotContains(t, droplet, "app/index.html")
	assert.Equal(t, "index.html", droplet["app/home"].link)
	assert.Contains(t, droplet, "app/.profile.d/classic.sh")
	assert.Equal(t, fs.FileMode(0o755), droplet["app/vendor/tool/bin/staticd"].mode.Perm())
	assert.Equal(t, "staticd", droplet["app/vendor/tool/bin/serve"].link)
	for _, dir := range []string{"app", "logs", "tmp"} {
		assert.True(t, droplet[dir].mode.IsDir(), dir)
	}
	inOrder(t, droplet["logs/staging_task.log"].content, "-----> Downloaded app package (", "       from cache\n")
	info := infoOf(t, droplet)
	assert.Equal(t, runspec.StagingInfo{
		BuildpackPath: runspec.PathBuildpack(1), DetectedBuildpack: "Classic 1.2", StartCommand: first.DetectedStartCommand,
		EffectiveProcfile: map[string]string{"web": first.DetectedStartCommand},
	}, info)

	instance := runs(t, again.AppID, second.DropletSHA1, nil)
	status, body, err := stack.Get(t.Context(), "http://"+instance.Address)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "<html>classic</html>", body)
	says(t, again.AppID, "CLASSIC is set by .profile.d\n")
}

// inOrder checks that a text has some parts, one after another.
func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		require.True(t, found, "no %q, after what is before it, in\n%s", part, text)
		rest = after
	}
}

// TestClassicBuildpackFails has real scripts fail: their users are told by type and words, and in the log by themselves.
func TestClassicBuildpackFails(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct {
			want       api.ErrorType
			words      string
			log, never []string
		}{
			"nodetect": {
				api.ErrNoAppDetected, runspec.WordsNoAppDetected,
				[]string{"Staging failed: " + runspec.WordsNoAppDetected + "\n"},
				[]string{"Otherfile", "the wrong buildpack compiles"},
			},
			"badcompile": {
				api.ErrBuildpackCompile, runspec.WordsCompile,
				[]string{
					"-----> Detected Bad compile", "-----> Compiling\n !     the compiler of this app is broken\n", "exit status 42\n",
					"Staging failed: " + runspec.WordsCompile + "\n",
				},
				[]string{"release must not be reached"},
			},
			"badrelease": {
				api.ErrBuildpackRelease, runspec.WordsRelease + ": bin/release ended with exit status 3",
				[]string{"-----> Compiled well\n", "cannot say how to run this\n", "Staging failed: " + runspec.WordsRelease},
				[]string{"Uploading droplet"},
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := asksFor(t, zipOf(t, file("run", "true")), offer(t, name))
				info := fails(t, request, c.want)
				assert.Equal(t, c.words, info.Message)
				log := logOf(t, request)
				inOrder(t, log, c.log...)
				for _, words := range c.never {
					assert.NotContains(t, log, words)
				}
			})
		}
	})
	clean(t, shared)
}

// TestSeveralBuildpacks has one supply for another, which has bin/supply and bin/finalize and neither bin/compile.
func TestSeveralBuildpacks(t *testing.T) {
	supplier, modern := offer(t, "supplier"), offer(t, "modern")
	chosen := func() api.StagingRequest {
		request := asksFor(t, zipOf(t, file("run", "true")), modern, supplier)
		request.Properties.Buildpacks = []string{supplier.Key, modern.Key}
		return request
	}
	request := chosen()
	result := stages(t, request)
	assert.Equal(t, "Modern", result.DetectedBuildpack)
	assert.Equal(t, modern.Key, result.BuildpackKey)
	inOrder(t, logOf(t, request), "-----> Supplier supplies at 0\n", "-----> Modern supplies at 1\n", "-----> Modern finalizes at 1\n",
		"       found 0/bin/supplied-tool\n", "       found 1/bin/modern-tool\n", "       finalized 1 times\n")

	again := chosen()
	result = stages(t, again)
	inOrder(t, logOf(t, again), "-----> Supplier supplies at 0\n", "       from cache\n", "       finalized 2 times\n")
	droplet := dropletOf(t, again.AppID, result.DropletSHA1)
	for name, content := range map[string]string{
		"deps/0/bin/supplied-tool": "#!/bin/sh\necho the tool of supplier\n",
		"deps/1/bin/modern-tool":   "#!/bin/sh\necho the tool of modern\n",
		"app/finalized-at":         "1\n",
		"app/run":                  "true",
	} {
		assert.Equal(t, content, droplet[name].content, name)
	}
	assert.Contains(t, droplet, "profile.d/modern.sh")
	assert.Equal(t, result.DetectedStartCommand, infoOf(t, droplet).StartCommand)

	runs(t, again.AppID, result.DropletSHA1, deaf)
	says(t, again.AppID, "MODERN is set by profile.d\n", "the tool of supplier\n", "the tool of modern\n", "deps are in deps\n")
}

// TestSupplierAlone asks a buildpack that only supplies to build an app, alone and as the last of two.
func TestSupplierAlone(t *testing.T) {
	supplier, another, classic := offer(t, "supplier"), offer(t, "supplier"), offer(t, "classic")
	t.Run("all", func(t *testing.T) {
		for name, c := range map[string]struct {
			chosen []string
			words  string
		}{
			"alone":        {[]string{supplier.Key}, "bin/compile"},
			"last":         {[]string{another.Key, supplier.Key}, "bin/compile"},
			"no supplying": {[]string{classic.Key, supplier.Key}, "does not support multi-buildpack apps"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				request := asksFor(t, zipOf(t, file("index.html", "x")), supplier, another, classic)
				request.Properties.Buildpacks = c.chosen
				info := fails(t, request, api.ErrBuildpackCompile)
				inOrder(t, info.Message+"\n"+logOf(t, request), c.words)
			})
		}
	})
	clean(t, shared)
}

// TestChildrenThatNeverEnd are those of a buildpack that has ended: they hold up nobody, and go with the container.
func TestChildrenThatNeverEnd(t *testing.T) {
	const seconds = "864213" // what tells them from every other program that sleeps
	request := asksFor(t, zipOf(t, file("run", "true")), offer(t, "forks"))
	request.Properties.Environment = []string{"FORK_SECONDS=" + seconds}
	result := stages(t, request)
	assert.Equal(t, "Forks", result.DetectedBuildpack)
	inOrder(t, logOf(t, request), "-----> Forked\n", "-----> Uploading droplet (")
	eventually(t, soon, func() error { return nobodySleeps(seconds) })
}

// TestOddOutput has a buildpack say what terminals and editors stumble over: the log has it byte for byte.
func TestOddOutput(t *testing.T) {
	request := asksFor(t, zipOf(t, file("run", "true")), offer(t, "colours"))
	result := stages(t, request)
	said := "\x1b[1;32m-----> green\x1b[0m\n"
	for _, n := range strings.Split("12345678", "") {
		said += "out " + n + "\nerr " + n + "\n"
	}
	said += "progress 10%\rprogress 50%\rprogress 100%\r\n" +
		"not UTF-8: \xff\xfe\xc3( end\na NUL: \x00 end\nno line break at the end"
	inOrder(t, logOf(t, request), said+"\n-----> Uploading droplet (")
	inOrder(t, dropletOf(t, request.AppID, result.DropletSHA1)["logs/staging_task.log"].content, said)
}

// TestGibibyteOfLog has a buildpack say a gibibyte: the log is cut off, says so and how it ended, and nothing else suffers.
func TestGibibyteOfLog(t *testing.T) {
	request := asksFor(t, zipOf(t, file("run", "true")), offer(t, "talker"))
	result := stages(t, request)
	const limit = 64 << 20
	log := logFile(t, request)
	assert.LessOrEqual(t, log.size, int64(limit))
	assert.Greater(t, log.size, int64(limit/2))
	inOrder(t, log.begin, "-----> Talking\n")
	inOrder(t, log.end, "-----> The log is too long: the rest is not kept\n", "-----> Uploading droplet (")
	droplet := dropletOf(t, request.AppID, result.DropletSHA1)
	assert.LessOrEqual(t, len(droplet["logs/staging_task.log"].content), limit)
}
