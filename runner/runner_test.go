package main_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/durable-dea/dea/internal/runspec"
)

// patience bounds what a test waits for on a busy machine.
const patience = 60 * time.Second

// programs is the directory with the built dea-runner and staticd.
var programs string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

// buildAndRun builds what is tested as containers get it: static programs.
func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dea-runner-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Some tests run the programs as somebody else.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for name, source := range map[string]string{"dea-runner": ".", "staticd": "../buildpacks/static/staticd"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, name), source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", name, err, out)
			return 1
		}
	}
	programs = dir
	return m.Run()
}

// container is the root of one, as the process backend has it: a directory.
type container struct {
	t    *testing.T
	root string
}

func newContainer(t *testing.T) *container {
	t.Helper()
	c := &container{t: t, root: t.TempDir()}
	for _, dir := range []string{runspec.PathHome, runspec.PathIn, runspec.PathOut, runspec.PathBuildpacks, runspec.PathDroplet} {
		require.NoError(t, os.MkdirAll(c.path(dir), 0o755))
	}
	for _, file := range runspec.OutFiles() { // as the node makes them
		c.write(runspec.PathOut+"/"+file, "", 0o666)
	}
	// Buildpacks may close directories of the app's.
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+rwx", c.root).Run() })
	return c
}

func (c *container) path(contract string) string { return runspec.Beneath(c.root, contract) }

func (c *container) read(contract string) string {
	c.t.Helper()
	data, err := os.ReadFile(c.path(contract))
	require.NoError(c.t, err)
	return string(data)
}

// logFiles are the names of what is beside an instance's logs.
func (c *container) logFiles() (names []string) {
	c.t.Helper()
	entries, err := os.ReadDir(c.path(runspec.PathLogs))
	require.NoError(c.t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func (c *container) write(contract, content string, mode fs.FileMode) {
	c.t.Helper()
	require.NoError(c.t, os.MkdirAll(filepath.Dir(c.path(contract)), 0o755))
	require.NoError(c.t, os.WriteFile(c.path(contract), []byte(content), mode))
	require.NoError(c.t, os.Chmod(c.path(contract), mode))
}

// command prepares the runner with the little environment that a Warden gives, and no HOME of the machine's.
func (c *container) command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(programs, "dea-runner"), append(args, "--root", c.root)...)
	cmd.Env = append([]string{"PATH=/bin:/usr/bin", "HOME=" + c.path(runspec.PathHome)}, env...)
	cmd.Dir = c.path(runspec.PathHome)
	return cmd
}

// run runs the runner to its end and gives its exit status and its stderr.
func (c *container) run(env []string, args ...string) (int, string) {
	c.t.Helper()
	var stderr bytes.Buffer
	cmd := c.command(env, args...)
	cmd.Stderr = &stderr
	require.NoError(c.t, cmd.Start())
	timer := time.AfterFunc(2*patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode(), stderr.String()
}

// files are what an app or a buildpack consists of; a name that ends with "*" is an executable's.
type files map[string]string

// pack zips files as a user's tool does.
func (c *container) pack(app files) {
	c.t.Helper()
	var buffer bytes.Buffer
	writer := zip.NewWriter(&buffer)
	for name, content := range app {
		header := &zip.FileHeader{Name: strings.TrimSuffix(name, "*"), Method: zip.Deflate}
		header.SetMode(0o644)
		if strings.HasSuffix(name, "*") {
			header.SetMode(0o755)
		}
		w, err := writer.CreateHeader(header)
		require.NoError(c.t, err)
		_, err = w.Write([]byte(content))
		require.NoError(c.t, err)
	}
	require.NoError(c.t, writer.Close())
	c.write(runspec.PathIn+"/"+runspec.FilePackage, buffer.String(), 0o644)
}

// order writes the spec for a number of buildpacks, whose keys are bp0, bp1 and so on.
func (c *container) order(change func(*runspec.Spec), buildpacks ...files) {
	c.t.Helper()
	spec := runspec.Spec{TimeoutSeconds: int(patience / time.Second)}
	for n, content := range buildpacks {
		for name, text := range content {
			mode := fs.FileMode(0o644)
			if strings.HasSuffix(name, "*") {
				mode = 0o755
			}
			c.write(runspec.PathBuildpack(n)+"/"+strings.TrimSuffix(name, "*"), text, mode)
		}
		spec.Buildpacks = append(spec.Buildpacks, runspec.Buildpack{Key: fmt.Sprintf("bp%d", n), Dir: runspec.PathBuildpack(n)})
	}
	if change != nil {
		change(&spec)
	}
	require.NoError(c.t, spec.Write(c.path(runspec.PathIn+"/"+runspec.FileSpec)))
}

// stage runs the staging and gives its exit status and result.
func (c *container) stage(env ...string) (int, runspec.Result) {
	c.t.Helper()
	status, stderr := c.run(env, "stage")
	require.Empty(c.t, stderr)
	return status, c.result()
}

func (c *container) result() runspec.Result {
	c.t.Helper()
	result, err := runspec.ReadResult(strings.NewReader(c.read(runspec.PathOut + "/" + runspec.FileResult)))
	require.NoError(c.t, err)
	return result
}

func (c *container) log() string { return c.read(runspec.PathOut + "/" + runspec.FileLog) }

func (c *container) info() runspec.StagingInfo {
	c.t.Helper()
	var info runspec.StagingInfo
	require.NoError(c.t, yaml.Unmarshal([]byte(c.read(runspec.PathStagingInfo)), &info))
	return info
}

// instance makes an instance's container of what was staged.
func (c *container) instance() *container {
	c.t.Helper()
	i := newContainer(c.t)
	droplet := c.read(runspec.PathOut + "/" + runspec.FileDroplet)
	i.write(runspec.PathDroplet+"/"+runspec.FileDroplet, droplet, 0o644)
	return i
}

func script(lines ...string) string { return "#!/bin/bash\n" + strings.Join(lines, "\n") + "\n" }

// classic is a buildpack in the oldest form: three scripts.
func classic(detect, compile, release string) files {
	return files{"bin/detect*": script(detect), "bin/compile*": script(compile), "bin/release*": script(release)}
}

const releaseWeb = `echo '---
addons: []
config_vars: {PATH: /x}
default_process_types:
  web: ./from-release'`
