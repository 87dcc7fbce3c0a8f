package integration

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// buildLines is how many lines the slow build writes, ten a second: it must outlive the death of its worker, the
// worker's restart and the heartbeat timeout by which Temporal notices.
const buildLines = 150

// TestKillWorkerDuringBuild kills a worker with a build in its hands. The build goes on, under the next worker it is the
// same one: compile ran once, and its log is whole.
func TestKillWorkerDuringBuild(t *testing.T) {
	const app = "kill-build"
	slow := buildpack{compile: fmt.Sprintf(
		"for i in $(seq 1 %d); do echo \"line $i of the build\"; sleep 0.1; done", buildLines)}
	request := stagingRequestOf(t, app, zipOf(t, file("run", "sleep 3600")), slow)
	staging, err := shared.Control.Stage(t.Context(), request)
	require.NoError(t, err)
	eventually(t, later, func() error { return logHas(request.TaskID, "line 10 of the build") })

	status, err := staging.Status(t.Context())
	require.NoError(t, err)
	number := nodeNumber(t, status.Node)
	before := killWorker(t, number)
	eventually(t, later, func() error { return replaced(number, before) })

	ctx, cancel := context.WithTimeout(t.Context(), later)
	defer cancel()
	result, err := staging.Wait(ctx)
	require.NoError(t, err)
	assert.Equal(t, "Test", result.DetectedBuildpack)
	assert.Equal(t, status.Node, result.NodeID, "the build is to go on where it was")
	assert.Equal(t, wholeBuild(), buildLog(t, app, result.DropletSHA1))
	clean(t, shared)
}

// TestKillWorkerOfRunningInstance kills a worker whose instance runs. The instance does not notice: it answers all the
// while, is the same one afterwards, and stops when it is told to.
func TestKillWorkerOfRunningInstance(t *testing.T) {
	const app = "kill-running"
	source, err := stack.Example("static")
	require.NoError(t, err)
	_, err = shared.Starter(t.Context(), "push", source, "--name", app)
	require.NoError(t, err)
	defer remove(t, shared, app)
	status, err := shared.Control.App(t.Context(), app)
	require.NoError(t, err)
	require.Len(t, status.Instances, 1)
	instance := status.Instances[0]
	number := nodeNumber(t, instance.Node)

	before := killWorker(t, number)
	eventually(t, later, func() error {
		code, _, err := stack.Get(t.Context(), "http://"+instance.Address)
		require.NoError(t, err, "the instance stopped serving")
		require.Equal(t, http.StatusOK, code)
		return replaced(number, before)
	})
	eventually(t, later, func() error { return hasInstances(t.Context(), app, 1) })
	status, err = shared.Control.App(t.Context(), app)
	require.NoError(t, err)
	assert.Equal(t, instance.InstanceID, status.Instances[0].InstanceID)
	code, _, err := stack.Get(t.Context(), "http://"+instance.Address)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, code)

	_, err = shared.Starter(t.Context(), "stop", app)
	require.NoError(t, err)
	eventually(t, later, func() error { return hasInstances(t.Context(), app, 0) })
	clean(t, shared)
	_, _, err = stack.Get(t.Context(), "http://"+instance.Address)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// TestKillWorkerWhileInstanceEnds kills a worker and the app while nobody looks. The next worker finds out how the app
// ended, and another instance takes its place.
func TestKillWorkerWhileInstanceEnds(t *testing.T) {
	const app = "kill-both"
	instance := runsSleeping(t, app)
	defer remove(t, shared, app)
	number := nodeNumber(t, instance.Node)
	before := killWorker(t, number)
	killApp(t, instance)
	eventually(t, later, func() error { return replaced(number, before) })
	eventually(t, later, func() error { return anotherRuns(t.Context(), app, instance.InstanceID) })
}

// TestKillApp kills an app with all its workers well: another instance takes its place.
func TestKillApp(t *testing.T) {
	const app = "kill-app"
	instance := runsSleeping(t, app)
	defer remove(t, shared, app)
	killApp(t, instance)
	eventually(t, later, func() error { return anotherRuns(t.Context(), app, instance.InstanceID) })
}

// TestKillWardend kills a wardend under a running instance, which the next one finds again.
func TestKillWardend(t *testing.T) {
	const app = "kill-wardend"
	instance := runsSleeping(t, app)
	defer remove(t, shared, app)
	number := nodeNumber(t, instance.Node)
	sleeps := appProcess(t, instance)
	before, err := shared.Wardend(number)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
	eventually(t, later, func() error {
		now, err := shared.Wardend(number)
		if err == nil && now.PID == before.PID {
			err = errors.New("the killed wardend is still there")
		}
		return err
	})
	eventually(t, later, func() error { return hasInstances(t.Context(), app, 1) })
	status, err := shared.Control.App(t.Context(), app)
	require.NoError(t, err)
	assert.Equal(t, instance.InstanceID, status.Instances[0].InstanceID)
	assert.Equal(t, sleeps.PID, appProcess(t, instance).PID)
	// Found again means that its end is noticed, too.
	killApp(t, instance)
	eventually(t, later, func() error { return anotherRuns(t.Context(), app, instance.InstanceID) })
}

// TestKillDevserver kills a devserver: its workers and wardends end with it, its containers go on, and the next devserver
// of the same data has them again, and ends them.
func TestKillDevserver(t *testing.T) {
	const app = "kill-devserver"
	ctx, data := t.Context(), t.TempDir()
	source, err := stack.Example("procfile")
	require.NoError(t, err)
	first, err := stack.Start(ctx, stack.Options{Data: data})
	require.NoError(t, err)
	_, pushed := first.Starter(ctx, "push", source, "--name", app, "--no-route")
	before, asked := first.Control.App(ctx, app)
	require.NoError(t, first.Kill())
	var outlived []stack.Process
	eventually(t, soon, func() error {
		for _, program := range []func(int) (stack.Process, error){first.Worker, first.Wardend} {
			if process, err := program(1); !errors.Is(err, stack.ErrNotRunning) {
				return errors.Join(err, fmt.Errorf("outlived its devserver: %s", process))
			}
		}
		all, err := first.Processes()
		outlived = slices.DeleteFunc(all, func(p stack.Process) bool {
			return !slices.Contains([]string{"wardend", "dea-runner"}, filepath.Base(p.Exe)) // what an app starts may come and go
		})
		return err
	})

	again, err := stack.Start(ctx, stack.Options{Data: data})
	require.NoError(t, err)
	defer func() { require.NoError(t, again.Stop()) }()
	require.NoError(t, errors.Join(pushed, asked))
	require.Len(t, before.Instances, 1)
	assert.NotEmpty(t, outlived)
	living, err := again.Processes()
	require.NoError(t, err)
	for _, process := range outlived {
		assert.True(t, slices.ContainsFunc(living, func(p stack.Process) bool { return p.PID == process.PID }), "%s", process)
	}
	after, err := again.Control.App(ctx, app)
	require.NoError(t, err)
	require.Len(t, after.Instances, 1)
	assert.Equal(t, before.Instances[0].InstanceID, after.Instances[0].InstanceID)
	assert.Equal(t, api.StateRunning, after.Instances[0].State)
}

// runsSleeping runs an app that only sleeps, and gives its one instance.
func runsSleeping(t *testing.T, app string) api.InstanceStatus {
	t.Helper()
	result := staged(t, app, zipOf(t, file("run", "sleep 3600")), buildpack{})
	spec, err := shared.AppSpec(t.Context(), app, result.DropletSHA1)
	require.NoError(t, err)
	spec.Message.URIs = nil // it listens nowhere: running is healthy enough
	_, err = shared.Control.Run(t.Context(), spec)
	require.NoError(t, err)
	eventually(t, later, func() error { return hasInstances(t.Context(), app, 1) })
	status, err := shared.Control.App(t.Context(), app)
	require.NoError(t, err)
	return status.Instances[0]
}

// stagingRequestOf is a request to stage a package, which it uploads, with a buildpack.
func stagingRequestOf(t *testing.T, app string, content []byte, pack buildpack) api.StagingRequest {
	t.Helper()
	require.NoError(t, shared.Upload(t.Context(), app, content))
	request, err := shared.StagingRequest(t.Context(), app)
	require.NoError(t, err)
	request.AdminBuildpacks = []api.AdminBuildpack{pack.serve(t, "test-"+request.TaskID)}
	return request
}

// nodeNumber is the number of a node, from 1.
func nodeNumber(t *testing.T, id string) int {
	t.Helper()
	index := slices.IndexFunc(shared.Nodes, func(n stack.Node) bool { return n.ID == id })
	require.NotEqual(t, -1, index, "no node %q", id)
	return index + 1
}

// killWorker kills a node's worker, and gives the id of the process that was killed.
func killWorker(t *testing.T, number int) int {
	t.Helper()
	worker, err := shared.Worker(number)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(worker.PID, syscall.SIGKILL))
	return worker.PID
}

// replaced fails until another process is the node's worker.
func replaced(number, before int) error {
	worker, err := shared.Worker(number)
	if err == nil && worker.PID == before {
		err = errors.New("the killed worker is still there")
	}
	return err
}

// killApp kills the process of an instance that sleeps, as soon as it does.
func killApp(t *testing.T, instance api.InstanceStatus) {
	t.Helper()
	require.NoError(t, syscall.Kill(appProcess(t, instance).PID, syscall.SIGKILL))
}

// appProcess is the process of an instance that sleeps, as soon as it does.
func appProcess(t *testing.T, instance api.InstanceStatus) stack.Process {
	t.Helper()
	var app stack.Process
	eventually(t, soon, func() error {
		processes, err := shared.Processes()
		if err != nil {
			return err
		}
		index := slices.IndexFunc(processes, func(p stack.Process) bool {
			cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.PID), "cwd"))
			return err == nil && strings.Contains(cwd, instance.InstanceID) && p.Args[0] == "sleep"
		})
		if index < 0 {
			return fmt.Errorf("instance %s does not sleep", instance.InstanceID)
		}
		app = processes[index]
		return nil
	})
	return app
}

// anotherRuns fails until one instance of an app runs, and not the one that did before.
func anotherRuns(ctx context.Context, app, before string) error {
	if err := hasInstances(ctx, app, 1); err != nil {
		return err
	}
	status, err := shared.Control.App(ctx, app)
	if err != nil {
		return err
	}
	for _, instance := range status.Instances {
		if instance.State == api.StateRunning && instance.InstanceID != before {
			return nil
		}
	}
	return fmt.Errorf("instance %s was not replaced", before)
}

// logHas fails until the log of a staging that runs has a line.
func logHas(task, line string) error {
	logs, err := filepath.Glob(filepath.Join(shared.Data, "nodes", "*", "base", "staging", task, "out", "staging.log"))
	if err != nil || len(logs) == 0 {
		return errors.Join(err, errors.New("the staging has no log yet"))
	}
	content, err := os.ReadFile(logs[0])
	if err == nil && !strings.Contains(string(content), line+"\n") {
		err = fmt.Errorf("the log does not have %q:\n%s", line, content)
	}
	return err
}

// wholeBuild is what the slow build writes when it runs once and nothing of it is lost.
func wholeBuild() []string {
	lines := make([]string, buildLines)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d of the build", i+1)
	}
	return lines
}

// buildLog are the slow build's lines in the staging log that the droplet has.
func buildLog(t *testing.T, app, sha1 string) []string {
	t.Helper()
	spec, err := shared.AppSpec(t.Context(), app, sha1)
	require.NoError(t, err)
	code, droplet, err := stack.Get(t.Context(), spec.Message.ExecutableURI)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, code)
	unzipped, err := gzip.NewReader(strings.NewReader(droplet))
	require.NoError(t, err)
	archive := tar.NewReader(unzipped)
	for {
		header, err := archive.Next()
		require.NoError(t, err, "the droplet has no staging log")
		if path.Clean(header.Name) != "logs/staging_task.log" {
			continue
		}
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		var lines []string
		for line := range strings.Lines(string(content)) {
			if strings.HasSuffix(line, " of the build\n") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		return lines
	}
}
