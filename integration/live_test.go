package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/syncbuffer"
)

// waits is a buildpack whose compile says a word, waits until a file is there, and says another. open makes the file; the
// test's end does it, too, so that no build waits for ever.
func waits(t *testing.T) (pack buildpack, open func()) {
	t.Helper()
	gate := filepath.Join(t.TempDir(), "gate")
	open = func() { require.NoError(t, os.WriteFile(gate, nil, 0o600)) }
	t.Cleanup(open)
	return buildpack{compile: fmt.Sprintf(
		"echo before the gate; while [ ! -e %s ]; do sleep 0.05; done; echo behind the gate", gate)}, open
}

// TestLogWhileItIsWritten follows a staging's log: what compile has said so far is there while it waits, and the rest
// comes when it is said.
func TestLogWhileItIsWritten(t *testing.T) {
	pack, open := waits(t)
	request := stagingOf(t, zipOf(t, file("run", "true")), pack)
	staging, err := shared.Control.Stage(t.Context(), request)
	require.NoError(t, err)
	var status api.StagingStatus
	eventually(t, later, func() error {
		if status, err = staging.Status(t.Context()); err == nil && status.SetUp == nil {
			err = fmt.Errorf("the staging is not set up but %s", status.Phase)
		}
		return err
	})
	require.NotEmpty(t, staging.LogURL(status))
	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, staging.LogURL(status), nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(get)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	lines := bufio.NewScanner(response.Body)
	so := until(t, lines, "before the gate")
	inOrder(t, so, "-----> Downloaded app package (", "-----> Detected Test (", "before the gate\n")

	status, err = staging.Status(ctx)
	require.NoError(t, err)
	assert.Equal(t, api.StagingBuilding, status.Phase)
	assert.Nil(t, status.Result)
	open()
	rest := until(t, lines, "behind the gate")
	assert.NotContains(t, rest, "before the gate", "what was sent is not sent again")
	_, err = staging.Wait(ctx)
	require.NoError(t, err)
	gone(t, request)
	inOrder(t, logOf(t, request), so, rest)
}

// until are the lines up to one.
func until(t *testing.T, lines *bufio.Scanner, last string) string {
	t.Helper()
	var read strings.Builder
	for lines.Scan() {
		read.WriteString(lines.Text() + "\n")
		if lines.Text() == last {
			return read.String()
		}
	}
	require.Fail(t, "the log ended early", "%v after\n%s", lines.Err(), read.String())
	return ""
}

// TestStarterStagesAndShows has `starter stage` show the log as it is written, beside a result that programs read.
func TestStarterStagesAndShows(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		for _, output := range []string{"text", "json"} {
			t.Run(output, func(t *testing.T) {
				t.Parallel()
				pack, open := waits(t)
				request := stagingOf(t, zipOf(t, file("run", "true")), pack)
				text, err := json.Marshal(request)
				require.NoError(t, err)
				starter, err := stack.Bin("starter")
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), later)
				defer cancel()
				command := exec.CommandContext(ctx, starter, "--config", shared.Config, "stage", "-f", "-", "--output", output)
				command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
					return strings.HasPrefix(variable, "TEMPORAL_") || strings.HasPrefix(variable, "DEA_")
				})
				var result bytes.Buffer
				shown := &syncbuffer.Buffer{}
				command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(text), &result, shown
				if output == "text" {
					command.Stdout = shown
				}
				require.NoError(t, command.Start())
				has := func(line string) func() error {
					return func() error {
						if !strings.Contains(shown.String(), line) {
							return fmt.Errorf("no %q in\n%s", line, shown)
						}
						return nil
					}
				}
				eventually(t, later, has("before the gate\n"))
				assert.NotContains(t, shown.String(), "behind the gate")
				open()
				require.NoError(t, command.Wait(), shown)
				inOrder(t, shown.String(), "before the gate\n", "behind the gate\n")
				if output == "json" {
					var told api.StagingResult
					require.NoError(t, json.Unmarshal(result.Bytes(), &told), "%s", result.String())
					assert.Equal(t, request.TaskID, told.TaskID)
					assert.Len(t, told.DropletSHA1, 40)
				}
				gone(t, request)
			})
		}
	})
	clean(t, shared)
}
