package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/wardend/internal/rootfs"
)

// runRootfs gives what a rootfs command writes to standard output.
func runRootfs(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := New(&bytes.Buffer{})
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(append([]string{"rootfs"}, args...))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestRootfsCheck(t *testing.T) {
	dir := t.TempDir()
	text, err := runRootfs(t, "check", dir)
	require.ErrorIs(t, err, errUnusable)
	require.Contains(t, text, "user vcap")
	raw, err := runRootfs(t, "check", dir+":/no/such/layer", "--output", "json")
	require.ErrorIs(t, err, errUnusable)
	var report rootfs.Report
	require.NoError(t, json.Unmarshal([]byte(raw), &report))
	require.False(t, report.Usable)
	require.Equal(t, []string{dir, "/no/such/layer"}, report.Layers)
	t.Chdir(dir)
	require.NoError(t, os.Mkdir("relative", 0o755))
	raw, _ = runRootfs(t, "check", "relative", "-o", "json")
	require.NoError(t, json.Unmarshal([]byte(raw), &report))
	require.Equal(t, []string{filepath.Join(dir, "relative")}, report.Layers)
}

func TestRootfsRefused(t *testing.T) {
	for words, args := range map[string][]string{
		"accepts 1 arg":              {"check"},
		"a layer has no name":        {"check", "/a::/b"},
		"give text or json":          {"check", "/a", "--output", "yaml"},
		"unknown command":            {"arch", "/a"},
		"is no release's code name":  {"debian", "/a/b", "--suite", "-x"},
		"no password":                {"debian", "/a/b", "--mirror", "http://me:secret@host.example/debian"},
		"unknown flag: --no-such-fl": {"host", "/a/b", "--no-such-flag"},
	} {
		_, err := runRootfs(t, args...)
		require.ErrorContains(t, err, words)
	}
}

func TestRootfsHost(t *testing.T) {
	if os.Geteuid() != 0 {
		_, err := runRootfs(t, "host", filepath.Join(t.TempDir(), "new"))
		require.ErrorIs(t, err, rootfs.ErrNotRoot)
		return
	}
	// As little of this machine as makes a rootfs.
	dir := filepath.Join(t.TempDir(), "new")
	args := []string{"host", dir, "--exclude", "/usr/[a-km-rt-z]*", "--exclude", "/usr/share", "--exclude", "/usr/lib/*"}
	text, err := runRootfs(t, args...)
	require.NoError(t, err)
	require.Contains(t, text, dir+" is a rootfs: ")
	require.Contains(t, text, "left out, excluded: ")
	require.Contains(t, text, "use it: wardend --rootfs "+dir)
	raw, err := runRootfs(t, append(args, "--output", "json")...)
	require.NoError(t, err)
	var sum rootfs.Summary
	require.NoError(t, json.Unmarshal([]byte(raw), &sum))
	require.Equal(t, dir, sum.Dir)
	require.NotZero(t, sum.Files)
}

func TestRootfsHelp(t *testing.T) {
	text, err := runRootfs(t)
	require.NoError(t, err)
	for _, word := range []string{"host", "debian", "check", "wardend rootfs host /"} {
		require.Contains(t, text, word)
	}
	for _, name := range []string{"host", "debian", "check"} {
		text, err := runRootfs(t, name, "--help")
		require.NoError(t, err)
		require.Contains(t, text, "Examples:\n  wardend rootfs "+name)
		require.Contains(t, text, "--output")
	}
}

func TestMakingTellsAfterAWhile(t *testing.T) {
	var out bytes.Buffer
	m := making{to: &out, start: time.Now()}
	m.tell(rootfs.Summary{Files: 1})
	require.Empty(t, out.String(), "soon done")
	m.start = m.start.Add(-2 * patience)
	for range 3 {
		m.tell(rootfs.Summary{Files: 7, Bytes: rootfs.Bytes{Linked: 3 << 20, Copied: 5}})
	}
	m.end()
	require.Equal(t, "7 files, 3.0 MB shared, 5 B copied\n", out.String())
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
}
