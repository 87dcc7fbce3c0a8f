package integration

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// logLine is a line of `starter logs --output json`.
type logLine struct {
	Time     time.Time `json:"time"`
	App      string    `json:"app"`
	Index    int       `json:"index"`
	Instance string    `json:"instance"`
	Stream   string    `json:"stream"`
	Text     string    `json:"text"`
}

// logsOf are the lines that the command line shows of an app.
func logsOf(t *testing.T, app string, flags ...string) (lines []logLine) {
	t.Helper()
	out, err := shared.Starter(t.Context(), append([]string{"logs", app, "--output", "json"}, flags...)...)
	require.NoError(t, err)
	for text := range strings.Lines(out) {
		lines = append(lines, logLineOf(t, app, text))
	}
	for n := range max(len(lines)-1, 0) {
		require.False(t, lines[n+1].Time.Before(lines[n].Time), "in the order of time: %v", lines[n:n+2])
	}
	return lines
}

func logLineOf(t *testing.T, app, text string) logLine {
	t.Helper()
	var line logLine
	require.NoError(t, json.Unmarshal([]byte(text), &line), text)
	require.Equal(t, app, line.App)
	require.NotEmpty(t, line.Instance)
	return line
}

// talks stages an app whose instances run a script that listens nowhere, and starts it without waiting.
func talks(t *testing.T, app, script string, instances int) {
	t.Helper()
	result := staged(t, app, zipOf(t, file("run", script)), buildpack{})
	spec, err := shared.AppSpec(t.Context(), app, result.DropletSHA1)
	require.NoError(t, err)
	spec.Message.URIs, spec.Instances = nil, instances
	_, err = shared.Control.Run(t.Context(), spec)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, err := shared.Control.Delete(ctx, app, "the test is over")
		require.NoError(t, err)
		require.NoError(t, shared.Control.AwaitGone(ctx, app))
	})
}

// TestLogsAcrossNodesAndCrashes reads what all instances of an app said, on both nodes, one that has crashed included.
func TestLogsAcrossNodesAndCrashes(t *testing.T) {
	const app, instances = "talkers", 4
	talks(t, app, `echo "begins"; echo "grumbles" >&2; while ! [ -e ../crash ]; do sleep 0.1; done; echo "cannot go on" >&2; exit 3`, instances)
	eventually(t, later, func() error { return hasInstances(t.Context(), app, instances) })
	status, err := shared.Control.App(t.Context(), app)
	require.NoError(t, err)
	nodes := map[string]bool{}
	for _, instance := range status.Instances {
		nodes[instance.Node] = true
	}
	require.Len(t, nodes, 2, "they are on both nodes")
	eventually(t, soon, func() error { return hasLines(t, app, 2*instances) })
	victim := status.Instances[0]
	home := homeOf(t, victim.InstanceID)
	require.NoError(t, os.WriteFile(filepath.Join(home, "crash"), nil, 0o600))
	eventually(t, later, func() error {
		status, err := shared.Control.App(t.Context(), app)
		if slices.ContainsFunc(status.Instances, func(i api.InstanceStatus) bool { return i.InstanceID == victim.InstanceID }) {
			return errors.New("it has not crashed yet")
		}
		return cmp.Or(err, hasInstances(t.Context(), app, instances))
	})
	eventually(t, soon, func() error { // visibility is late
		for _, line := range logsOf(t, app) {
			if line.Instance == victim.InstanceID && line.Text == "cannot go on" && line.Stream == "stderr" && line.Index == victim.Index {
				return nil
			}
		}
		return fmt.Errorf("what instance %s said before it crashed is not shown", victim.InstanceID)
	})
	// Each line once, the new instance's as well.
	eventually(t, soon, func() error { return hasLines(t, app, 2*instances+3) })
	assert.Len(t, logsOf(t, app, "--lines", "3"), 3)
	for _, line := range logsOf(t, app, "--index", fmt.Sprint(victim.Index), "--stream", "stderr") {
		assert.Equal(t, victim.Index, line.Index)
		assert.Equal(t, "stderr", line.Stream)
	}
	assert.Empty(t, logsOf(t, app, "--since", "1ms"))
}

// TestFollowThroughQuickCrashes follows an app whose instances crash some times before one goes on: so quickly that none of
// them may have been seen. The latest of them is on its node.
func TestFollowThroughQuickCrashes(t *testing.T) {
	const app = "stumbles"
	dir := t.TempDir()
	talks(t, app, fmt.Sprintf(`cd %s; echo >>lives; case $(wc -l <lives) in
1) echo "waits"; while ! [ -e go ]; do sleep 0.05; done; exit 3;;
2|3) echo "cannot begin" >&2; exit 3;;
esac; echo "goes on"; sleep 3600`, dir), 1)
	eventually(t, later, func() error { return hasInstances(t.Context(), app, 1) })
	followed := follows(t, app)
	require.Equal(t, "waits", (<-followed).Text)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	var latest string
	eventually(t, later, func() error {
		ended, err := shared.Control.EndedInstances(t.Context(), app)
		if err != nil || len(ended) < 3 {
			return cmp.Or(err, fmt.Errorf("%d of its crashes are listed", len(ended)))
		}
		latest = ended[0].InstanceID
		return nil
	})
	lines, limit := map[string]string{}, time.After(later)
	for lines[latest] == "" || !slices.Contains(slices.Collect(maps.Values(lines)), "goes on") {
		select {
		case line, ok := <-followed:
			require.True(t, ok, "following goes on")
			require.Empty(t, lines[line.Instance], "each once: %v", line)
			lines[line.Instance] = line.Text
		case <-limit:
			require.Fail(t, "the last crash is not shown", "%s of %v", latest, lines)
		}
	}
	require.Equal(t, "cannot begin", lines[latest])
}

// hasLines fails unless so many lines of an app are shown.
func hasLines(t *testing.T, app string, wanted int) error {
	t.Helper()
	if lines := logsOf(t, app); len(lines) != wanted {
		return fmt.Errorf("%s has %d lines, not %d: %v", app, len(lines), wanted, lines)
	}
	return nil
}

// homeOf is the home directory of an instance whose container is plain processes.
func homeOf(t *testing.T, instance string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(shared.Data, "nodes", "*", "depot", "containers", instance, "root", "home", "vcap"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

const (
	floodBytes = 1 << 30
	floodLine  = 1000
	chatLines  = 300
)

// TestAFloodOfLogs has an app write as fast as it can: another one's lines all come, in their order; what it writes is in
// its log or counted there as dropped; and its log takes little of the disk.
func TestAFloodOfLogs(t *testing.T) {
	word := strings.Repeat("x", floodLine-1)
	talks(t, "flooder", fmt.Sprintf(`while ! [ -e ../go ]; do sleep 0.05; done
yes %s | head -c %d; echo; echo "wrote %d"; sleep 3600`, word, floodBytes, floodBytes+1), 1)
	talks(t, "chatty", fmt.Sprintf(`while ! [ -e ../go ]; do sleep 0.05; done
for n in $(seq %d); do echo "out $n"; echo "err $n" >&2; sleep 0.01; done; echo "the end"; sleep 3600`, chatLines), 1)
	home := map[string]string{}
	for _, app := range []string{"flooder", "chatty"} {
		eventually(t, later, func() error { return hasInstances(t.Context(), app, 1) })
		status, err := shared.Control.App(t.Context(), app)
		require.NoError(t, err)
		home[app] = homeOf(t, status.Instances[0].InstanceID)
	}
	followed := follows(t, "chatty")
	begun := time.Now()
	for _, app := range []string{"flooder", "chatty"} {
		require.NoError(t, os.WriteFile(filepath.Join(home[app], "go"), nil, 0o600))
	}
	requireChat(t, followed, begun)
	eventually(t, later, func() error {
		last := logsOf(t, "flooder", "--lines", "1")
		if len(last) == 0 || !strings.HasPrefix(last[0].Text, "wrote ") {
			return fmt.Errorf("the flood goes on: %.50v", last)
		}
		assert.Less(t, sizeOf(t, filepath.Join(home["flooder"], "logs")), int64(mostLogs))
		return nil
	})
	requireFlood(t, logsOf(t, "flooder", "--lines", "100000"))
	t.Logf("the flooder's log has %d bytes", sizeOf(t, filepath.Join(home["flooder"], "logs")))
	require.Len(t, logsOf(t, "chatty", "--lines", "100000"), 2*chatLines+1, "and so it is afterwards, in the order of time")
}

// mostLogs is what two streams' logs and their times may take, with what was before once.
const mostLogs = 2 * 2 * (64 + 16) << 20

// follows follows an app's logs by the command line, until the test is over.
func follows(t *testing.T, app string) <-chan logLine {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = write.CloseWithError(shared.StarterTo(ctx, write, "logs", app, "--follow", "--output", "json"))
	}()
	lines := make(chan logLine, 10*chatLines)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(read); in.Scan(); {
			var line logLine
			if json.Unmarshal(in.Bytes(), &line) == nil {
				lines <- line
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return lines
}

// requireChat requires that the chatty app's lines come, all of them and in their order.
func requireChat(t *testing.T, followed <-chan logLine, begun time.Time) {
	t.Helper()
	next := map[string]int{"stdout": 1, "stderr": 1}
	slowest, limit := time.Duration(0), time.After(later)
	for {
		select {
		case line, ok := <-followed:
			require.True(t, ok, "following goes on")
			slowest = max(slowest, time.Since(line.Time))
			if line.Text == "the end" {
				require.Equal(t, map[string]int{"stdout": chatLines + 1, "stderr": chatLines + 1}, next)
				t.Logf("%d lines beside the flood within %s, the slowest shown %s after it was said", 2*chatLines, time.Since(begun), slowest)
				return
			}
			require.Equal(t, fmt.Sprintf("%s %d", strings.TrimPrefix(line.Stream, "std"), next[line.Stream]), line.Text)
			next[line.Stream]++
		case <-limit:
			require.Fail(t, "the chatty app's lines do not come", "%v", next)
		}
	}
}

// requireFlood requires that what the flooder says it wrote is what is in its log and what was dropped, as the log says.
func requireFlood(t *testing.T, lines []logLine) {
	t.Helper()
	wrote, logged, dropped := int64(0), int64(0), int64(0)
	for _, line := range lines {
		var count, size int64
		if n, _ := fmt.Sscanf(line.Text, "[dea] dropped %d lines (%d bytes)", &count, &size); n == 2 {
			require.Equal(t, floodLine*count, size)
			dropped += size
			continue
		}
		if n, _ := fmt.Sscanf(line.Text, "wrote %d", &wrote); n == 1 {
			continue
		}
		logged += int64(len(line.Text)) + 1
	}
	require.Equal(t, wrote, logged+dropped)
	require.Greater(t, dropped, wrote/2, "it is far over the limit")
	t.Logf("%d MB in %s: %d MB logged, %d MB dropped", wrote>>20, lines[len(lines)-1].Time.Sub(lines[0].Time), logged>>20, dropped>>20)
}

// sizeOf is how much of the disk the files of a directory take.
func sizeOf(t *testing.T, dir string) (size int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return err
	}))
	return size
}
