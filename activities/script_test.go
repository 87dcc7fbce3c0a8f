package activities

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
	script := runnerScript([]string{"export R=mine HOME=elsewhere"}, "launch", "--command", command)
	output, status := inContainer(t, root, script)
	require.Zero(t, status)
	require.Equal(t, "[launch][--root]["+root+"/][--command]["+command+"]", output)
}

func TestLaunchIsClaimedOnce(t *testing.T) {
	root := t.TempDir()
	script := runnerScript([]string{claimLaunch}, "launch")
	_, status := inContainer(t, root, script)
	require.Zero(t, status)
	require.FileExists(t, root+runspec.PathLaunched)
	output, status := inContainer(t, root, script)
	require.Equal(t, 125, status)
	require.Empty(t, output)
}
