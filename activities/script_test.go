package activities

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/runspec"
)

// inContainer runs a script as Warden does: fed to bash, in the home directory.
func inContainer(t *testing.T, root, script string) (output string, status int) {
	t.Helper()
	home := root + runspec.PathHome
	require.NoError(t, os.MkdirAll(home, 0o755))
	require.NoError(t, os.MkdirAll(root+"/tmp", 0o755))
	require.NoError(t, os.MkdirAll(root+runspec.PathBin, 0o755))
	runner := "#!/bin/bash\nprintf '[%s]' \"$@\"\n"
	require.NoError(t, os.WriteFile(root+runspec.PathRunner, []byte(runner), 0o755))
	command := exec.Command("bash")
	command.Dir, command.Env = home, []string{"HOME=" + home, "PATH=/bin:/usr/bin"}
	stdin, err := command.StdinPipe()
	require.NoError(t, err)
	go func() { _, _ = stdin.Write([]byte(script)); stdin.Close() }()
	text, _ := command.CombinedOutput()
	return string(text), command.ProcessState.ExitCode()
}

func TestRunnerScriptHandsArgumentsOnAsTheyAre(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a b")
	command := "it's $HOME `id` \"$(id)\"\nsecond line"
	script := runspec.RunnerScript([]string{"export R=mine HOME=elsewhere"}, "launch", "--command", command)
	output, status := inContainer(t, root, script)
	require.Zero(t, status)
	require.Equal(t, "[launch][--root]["+root+"/][--command]["+command+"]", output)
}

func TestHookRunsOnce(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		status int
		said   string
	}{
		"well":           {"#!/bin/bash\necho \"it's $A in $1\"", 0, "it's b in ROOT\n"},
		"fails":          {"echo $A >&2\nexit 7", 7, "b\n"},
		"strict":         {"set -eu; false; echo on", 1, ""},
		"becomes other":  {"exec echo $A", 0, "b\n"},
		"reads":          {"cat; echo $A", 0, "b\n"},
		"is no bash":     {"if", 2, ""},
		"kills itself":   {"kill -9 $BASHPID", 137, ""},
		"kills its job":  {"kill -9 $$", -1, ""},
		"traps its exit": {"trap 'echo end' EXIT; exit 3", 3, "end\n"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			said := filepath.Join(root, runspec.PathHooksLog)
			require.NoError(t, os.MkdirAll(filepath.Dir(said), 0o755))
			script := hookScript("after_start", "export A=b", c.text)
			output, status := inContainer(t, root, script)
			require.Empty(t, output)
			require.Equal(t, c.status, status)
			if c.status == -1 {
				c.status = 255
			}
			output, status = inContainer(t, root, script)
			require.Empty(t, output)
			require.Equal(t, c.status, status, "it is told again")
			text, err := os.ReadFile(said)
			require.NoError(t, err)
			if name != "is no bash" {
				require.Equal(t, strings.ReplaceAll(c.said, "ROOT", root), string(text))
			}
			_, status = inContainer(t, root, hookScript("before_stop", "", "exit 9"))
			require.Equal(t, 9, status, "another hook is another's")
		})
	}
}

// A later job waits for the hook of one that was given up.
func TestHookIsHeardOut(t *testing.T) {
	root := t.TempDir()
	script := hookScript("before_stop", "", `echo > "$1/begun"; until [ -e "$1/go" ]; do sleep 0.01; done; echo run >> "$1/runs"; exit 5`)
	statuses := make(chan int, 2)
	run := func() { _, status := inContainer(t, root, script); statuses <- status }
	go run()
	require.Eventually(t, func() bool { _, err := os.Stat(root + "/begun"); return err == nil }, time.Minute, time.Millisecond)
	go run()
	require.NoError(t, os.WriteFile(root+"/go", nil, 0o600))
	require.Equal(t, 5, <-statuses)
	require.Equal(t, 5, <-statuses)
	runs, err := os.ReadFile(root + "/runs")
	require.NoError(t, err)
	require.Equal(t, "run\n", string(runs))
}

// One without room for its mark runs all the same.
func TestHookWithoutAMarkRuns(t *testing.T) {
	root := t.TempDir()
	script := strings.ReplaceAll(hookScript("before_stop", "", "exit 5"), runspec.PathHook("before_stop"), "/none/mark")
	_, status := inContainer(t, root, script)
	require.Equal(t, 5, status)
}

func TestLaunchIsClaimedOnce(t *testing.T) {
	root := t.TempDir()
	script := runspec.RunnerScript([]string{runspec.ClaimLaunch}, "launch")
	_, status := inContainer(t, root, script)
	require.Zero(t, status)
	require.FileExists(t, root+runspec.PathLaunched)
	output, status := inContainer(t, root, script)
	require.Equal(t, 125, status)
	require.Empty(t, output)
}
