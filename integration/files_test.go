package integration

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// TestFilesOfAnInstance reads what an app has and writes, as its user does, and is refused what is none of the app's.
func TestFilesOfAnInstance(t *testing.T) {
	ctx := t.Context()
	pushExample(t, "procfile", "--no-route")
	app, err := shared.Control.App(ctx, "procfile")
	require.NoError(t, err)
	require.Len(t, app.Instances, 1)
	instance := app.Instances[0]

	t.Run("a directory is listed", func(t *testing.T) {
		out, err := shared.Starter(ctx, "files", "procfile", "0")
		require.NoError(t, err)
		assert.Regexp(t, `(?m)^app/ +directory `, out)
		assert.Regexp(t, `(?m)^logs/ +directory `, out)
		var listing api.FileListing
		require.NoError(t, shared.StarterJSON(ctx, &listing, "files", "procfile", "0", "app"))
		assert.Equal(t, "app", listing.Path)
		script := listing.Entries[len(listing.Entries)-1]
		assert.Equal(t, "work.sh", script.Name)
		assert.Equal(t, api.FileTypeFile, script.Type)
		assert.Positive(t, script.Size)
	})
	t.Run("a file is its bytes", func(t *testing.T) {
		want, err := os.ReadFile(filepath.Join("..", "examples", "procfile", "work.sh"))
		require.NoError(t, err)
		for _, args := range [][]string{
			{"procfile", "0", "app/work.sh"},
			{"procfile", "0", "/app/work.sh"},
			{"--instance", instance.InstanceID, "app/work.sh"},
			{"procfile", "0", "app/work.sh", "--output", "json"},
		} {
			out, err := shared.Starter(ctx, append([]string{"files"}, args...)...)
			require.NoError(t, err)
			assert.Equal(t, string(want), out, args)
		}
		out, err := shared.Starter(ctx, "files", "procfile", "0", "app/work.sh", "--bytes", "2-10")
		require.NoError(t, err)
		assert.Equal(t, string(want[2:11]), out)
	})
	t.Run("a page links to what it lists", func(t *testing.T) { followLinks(t, instance) })
	t.Run("what is not there or none of the app's is refused", func(t *testing.T) {
		for _, test := range []struct {
			code  int
			args  []string
			words string
		}{
			{3, []string{"procfile", "0", "app/nothing"}, "/app/nothing of instance " + instance.InstanceID + " is not there"},
			{3, []string{"procfile", "7"}, "procfile has no instance 7 now"},
			{3, []string{"nobody", "0"}, "nobody"},
			{1, []string{"procfile", "0", "../../etc/passwd"}, "leads out of the instance's directory"},
			{1, []string{"procfile", "0", "app", "--follow"}, "leave --follow out"},
		} {
			_, err := shared.Starter(ctx, append([]string{"files"}, test.args...)...)
			require.ErrorContains(t, err, test.words)
			var exit *exec.ExitError
			if assert.ErrorAs(t, err, &exit) {
				assert.Equal(t, test.code, exit.ExitCode(), err)
			}
			assert.NotContains(t, err.Error(), "hmac")
		}
	})
	t.Run("a file is followed until the instance ends", func(t *testing.T) { followToTheEnd(t, instance) })
}

// links are those of a page.
var links = regexp.MustCompile(`<a href="([^"]+)">([^<]+)</a>`)

// followLinks goes from a signed page to a file, as a browser does.
func followLinks(t *testing.T, instance api.InstanceStatus) {
	t.Helper()
	at := shared.Control.FileURL(controller.InstanceFiles, instance.InstanceID, instance.FilesURL, "", false)
	for _, name := range []string{"app/", "Procfile"} {
		status, page := browse(t, at)
		require.Equal(t, http.StatusOK, status, page)
		next := ""
		for _, link := range links.FindAllStringSubmatch(page, -1) {
			if link[2] == name {
				next = strings.ReplaceAll(link[1], "&amp;", "&")
			}
		}
		require.NotEmpty(t, next, page)
		at = at[:strings.IndexByte(at, '?')] + next
	}
	status, content := browse(t, at)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "web: ./work.sh\n", content)
	status, _ = browse(t, strings.Replace(at, "Procfile", "work.sh", 1))
	require.Equal(t, http.StatusUnauthorized, status)
}

// browse asks as a browser does.
func browse(t *testing.T, address string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	request.Header.Set("Accept", "text/html,*/*;q=0.8")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content)
}

// followToTheEnd follows what an instance writes, through the end of its node's worker and until its own.
func followToTheEnd(t *testing.T, instance api.InstanceStatus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	starter, err := stack.Bin("starter")
	require.NoError(t, err)
	command := exec.CommandContext(ctx, starter, "--config", shared.Config, "--output", "json",
		"files", "procfile", "0", controller.StdoutLog, "--follow")
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	decoder := json.NewDecoder(out)
	next := func() (text string, err error) {
		var line struct{ Text string }
		err = decoder.Decode(&line)
		return line.Text, err
	}
	last, err := next()
	require.NoError(t, err)
	require.Contains(t, last, "instance 0 begins")
	number := nodeNumber(t, instance.Node)
	worker, err := shared.Worker(number)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(worker.PID, syscall.SIGTERM))
	eventually(t, later, func() error { return replaced(number, worker.PID) })
	seen := map[string]bool{}
	for len(seen) < 2 { // what it writes with and without a worker
		round, err := next()
		require.NoError(t, err)
		require.False(t, seen[round], "%q comes twice", round)
		seen[round] = true
	}
	require.NoError(t, shared.Control.StopInstance(ctx, instance.InstanceID, "the test ends it"))
	for text := ""; err == nil; text, err = next() {
		if text != "" {
			last = text
		}
	}
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, command.Wait())
	assert.Contains(t, last, "told to end after", "the last words")
}
