package activities_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/wardentest"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// A runner of bash that does what a test wants, in place of the real one: it claims the build as the real one does and
// then runs the test's lines, with $out, the function result and the variables of the staging.
const fakeRunner = `#!/bin/bash
[ "$1" = stage ] && [ "$2" = --root ] || exit 2
out="$3/tmp/dea/out"
exec 9<>"$out/started"
flock -n 9 && [ ! -s "$out/started" ] || exit 30
echo started >&9
echo run >> "$out/runs"
result() { printf '%s\n' "$1" > "$out/result.json"; }
`

type buildTest struct {
	*node
	server  *wardentest.Server
	request api.StagingRequest
	runner  string
}

func newBuildTest(t *testing.T, script string) *buildTest {
	t.Helper()
	n, s := newNode(t), filledStore(t)
	b := &buildTest{node: n, server: wardentest.Start(t), request: stagingRequest(s), runner: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(b.runner, runspec.RunnerName), []byte(fakeRunner+script), 0o755))
	_, err := fetchIt(t, n, b.request)
	require.NoError(t, err)
	return b
}

func (b *buildTest) build(ctx context.Context, t *testing.T) (activities.BuildResult, error) {
	t.Helper()
	return execute(ctx, t, b.containers(b.server, b.runner).Build, activities.BuildParams{Request: b.request})
}

func (b *buildTest) handle() *string { return proto.String(api.StagingHandle("task")) }

func (b *buildTest) read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(b.out(name))
	require.NoError(t, err)
	return string(content)
}

func (b *buildTest) awaitFile(t *testing.T, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		info, err := os.Stat(b.out(name))
		// Those of the contract are there from the beginning, empty.
		return err == nil && (info.Size() > 0 || !slices.Contains(runspec.OutFiles(), name))
	}, patience, time.Millisecond)
}

// interrupt begins a build and ends the attempt's context once the build has made the file.
func (b *buildTest) interrupt(t *testing.T, file string) {
	t.Helper()
	ctx, die := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := b.build(ctx, t); ended <- err }()
	b.awaitFile(t, file)
	die()
	require.ErrorContains(t, <-ended, "cancel")
	info, err := b.server.Client.Info(t.Context(), &wardenpb.InfoRequest{Handle: b.handle()})
	require.NoError(t, err)
	require.Equal(t, "active", info.GetState(), "the container is left alone")
}

func TestBuildWithTheRealRunner(t *testing.T) {
	n, s := newNode(t), filledStore(t)
	s.put("/package", zipFiles(t, map[string]string{"hello.txt": "hello", "Procfile": "web: cat hello.txt\n"}))
	s.put("/go", zipFiles(t, map[string]string{
		"bin/detect":  "#!/bin/bash\n[ -f $1/hello.txt ] && echo Hello\n",
		"bin/compile": "#!/bin/bash\necho \"color=$COLOR limit=$MEMORY_LIMIT operator=$OPERATOR\"\necho built > $1/built\n",
		"bin/release": "#!/bin/bash\necho '--- {}'\n",
	}))
	request := stagingRequest(s)
	request.BuildpackCacheDownloadURI = ""
	request.Properties.Environment = []string{"COLOR=<$MEMORY_LIMIT>"}
	request.Properties.Resources.MemoryMB = 64
	n.config.Staging.Environment = map[string]config.Secret{"OPERATOR": "x y"}
	_, err := fetchIt(t, n, request)
	require.NoError(t, err)
	containers := n.containers(wardentest.Start(t), filepath.Dir(wardentest.Program("dea-runner")))
	result, err := execute(t.Context(), t, containers.Build, activities.BuildParams{Request: request})
	require.NoError(t, err)
	require.Equal(t, "Hello", result.Result.DetectedBuildpack)
	require.Equal(t, "go", result.Result.BuildpackKey)
	require.Equal(t, "cat hello.txt", result.Result.StartCommand)
	droplet, err := os.ReadFile(n.out(runspec.FileDroplet))
	require.NoError(t, err)
	require.Equal(t, sum(droplet), result.Result.DropletSHA1)
	log, err := os.ReadFile(n.out(runspec.FileLog))
	require.NoError(t, err)
	require.Contains(t, string(log), "color=<64m> limit=64m operator=x y\n")

	again, err := execute(t.Context(), t, containers.Build, activities.BuildParams{Request: request})
	require.NoError(t, err)
	require.Equal(t, result, again)
}

func TestBuildGoesOnAfterADeath(t *testing.T) {
	b := newBuildTest(t, `until [ -e "$out/go" ]; do sleep 0.01; done; result '{"detected_buildpack":"x"}'`)
	b.interrupt(t, "runs")
	b.interrupt(t, "runs")
	require.NoError(t, os.WriteFile(b.out("go"), nil, 0o644))
	result, err := b.build(t.Context(), t)
	require.NoError(t, err)
	require.Equal(t, "x", result.Result.DetectedBuildpack)
	require.Equal(t, "run\n", b.read(t, "runs"))
}

func TestBuildThatEndedUnseen(t *testing.T) {
	b := newBuildTest(t, `until [ -e "$out/go" ]; do sleep 0.01; done; result '{"detected_buildpack":"x"}'`)
	b.interrupt(t, "runs")
	require.NoError(t, os.WriteFile(b.out("go"), nil, 0o644))
	b.awaitFile(t, runspec.FileResult)
	_, err := b.server.Client.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: b.handle()})
	require.NoError(t, err)
	result, err := b.build(t.Context(), t)
	require.NoError(t, err)
	require.Equal(t, "x", result.Result.DetectedBuildpack)
	list, err := b.server.Client.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	require.Empty(t, list.GetHandles(), "no container is made for a build that has ended")
}

func TestBuildGoesOnAcrossARestartOfWarden(t *testing.T) {
	b := newBuildTest(t, `until [ -e "$out/go" ]; do sleep 0.01; done; result '{"detected_buildpack":"x"}'`)
	ended := make(chan error, 1)
	go func() { _, err := b.build(t.Context(), t); ended <- err }()
	b.awaitFile(t, "runs")
	b.server.Stop()
	requireFault(t, <-ended, api.ErrWarden, false, "the container server is away")
	_, err := b.build(t.Context(), t)
	requireFault(t, err, api.ErrWarden, false, "the container server is away")
	b.server.Start()
	require.NoError(t, os.WriteFile(b.out("go"), nil, 0o644))
	_, err = b.build(t.Context(), t)
	require.NoError(t, err)
	require.Equal(t, "run\n", b.read(t, "runs"))
}

func TestTwoAttemptsBuildOnce(t *testing.T) {
	b := newBuildTest(t, `sleep 0.3; result '{"detected_buildpack":"x"}'`)
	var all sync.WaitGroup
	errs := make(chan error, 4)
	for range cap(errs) {
		all.Go(func() {
			_, err := b.build(t.Context(), t)
			// As Temporal does: the one may not have made the container yet that the other asks for.
			for again := (*temporal.ApplicationError)(nil); errors.As(err, &again) && !again.NonRetryable(); {
				_, err = b.build(t.Context(), t)
			}
			errs <- err
		})
	}
	all.Wait()
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	require.Equal(t, "run\n", b.read(t, "runs"))
}

// As when an attempt that is given up is still making the link to the app, or a worker died at it.
func TestBuildIsNotTakenForAnotherJob(t *testing.T) {
	for name, script := range map[string]string{"that went well": "exit 0", "that failed": "exit 7"} {
		t.Run(name, func(t *testing.T) {
			b := newBuildTest(t, `result '{"detected_buildpack":"x"}'`)
			_, err := b.setUp(t)
			require.NoError(t, err)
			_, err = b.server.Client.Spawn(t.Context(), &wardenpb.SpawnRequest{Handle: b.handle(), Script: proto.String(script)})
			require.NoError(t, err)
			result, err := b.build(t.Context(), t)
			require.NoError(t, err)
			require.Equal(t, "x", result.Result.DetectedBuildpack)
			require.Equal(t, "run\n", b.read(t, "runs"))
		})
	}
}

// A worker may have died before it had set the limits of the container that it had made.
func TestBuildBeginsInNoContainerWithoutLimits(t *testing.T) {
	b := newBuildTest(t, `until [ -e "$out/go" ]; do sleep 0.01; done; result '{}'`)
	_, err := b.setUp(t)
	require.NoError(t, err)
	limited, err := b.server.Client.LimitMemory(t.Context(), &wardenpb.LimitMemoryRequest{Handle: b.handle()})
	require.NoError(t, err)
	_, err = b.server.Client.LimitMemory(t.Context(), &wardenpb.LimitMemoryRequest{
		Handle: b.handle(), LimitInBytes: proto.Uint64(2 * limited.GetLimitInBytes()),
	})
	require.NoError(t, err)
	b.interrupt(t, "runs")
	now, err := b.server.Client.LimitMemory(t.Context(), &wardenpb.LimitMemoryRequest{Handle: b.handle()})
	require.NoError(t, err)
	require.Equal(t, limited.GetLimitInBytes(), now.GetLimitInBytes())
}

func TestBuildLeavesNobodyRunning(t *testing.T) {
	b := newBuildTest(t, `(trap "" TERM HUP; setsid sleep 1000 & echo $! > "$out/pid.part"; mv "$out/pid.part" "$out/pid"; wait) &
		until [ -e "$out/pid" ]; do sleep 0.01; done; result '{}'`)
	_, err := b.build(t.Context(), t)
	require.NoError(t, err)
	pid := strings.TrimSpace(b.read(t, "pid"))
	require.Eventually(t, func() bool {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		return err != nil || strings.Contains(string(status), "State:\tZ")
	}, patience, 5*time.Millisecond)
}

func TestBuildFaults(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		kind   api.ErrorType
		words  string
	}{
		"of the buildpack":  {`result '{"error":{"type":"BuildpackCompileFailed","message":"it failed"}}'; exit 22`, api.ErrBuildpackCompile, "it failed"},
		"of a made-up type": {`result '{"error":{"type":"NodeLost","message":"it failed"}}'`, api.ErrStager, "it failed"},
		"no result":         {`exit 3`, api.ErrStager, "the build ended with status 3 and left no result"},
		"killed":            {`kill -9 $$`, api.ErrStager, "the build ended with status 255 and left no result"},
		"result no JSON":    {`result nonsense`, api.ErrStager, "a result that cannot be read"},
		"result is a link":  {`ln -sf /etc/passwd "$out/result.json"`, api.ErrStager, "a result that cannot be read"},
		"result is a fifo":  {`rm "$out/result.json"; mkfifo "$out/result.json"`, api.ErrStager, "a result that cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuildTest(t, c.script)
			_, err := b.build(t.Context(), t)
			requireFault(t, err, c.kind, true, c.words)
			_, err = b.build(t.Context(), t)
			require.Error(t, err, "another attempt does not build again")
			require.Equal(t, "run\n", b.read(t, "runs"))
		})
	}
}

func TestBuildThatWasLost(t *testing.T) {
	b := newBuildTest(t, `sleep 1000`)
	b.interrupt(t, "runs")
	_, err := b.server.Client.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: b.handle()})
	require.NoError(t, err)
	_, err = b.build(t.Context(), t)
	requireFault(t, err, api.ErrStager, true, "the build was lost")
	require.Equal(t, "run\n", b.read(t, "runs"))
}

func TestBuildThatTakesTooLong(t *testing.T) {
	b := newBuildTest(t, `: > "$out/ready"; sleep 1000`)
	b.interrupt(t, "ready")
	past := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(b.workspaces.Path("task").Dir(), "begun"), past, past))
	for range 2 {
		_, err := b.build(t.Context(), t)
		requireFault(t, err, api.ErrStagingTimeExpired, true, "Staging time expired")
	}
	info, err := b.server.Client.Info(t.Context(), &wardenpb.InfoRequest{Handle: b.handle()})
	require.NoError(t, err)
	require.Equal(t, "stopped", info.GetState())
}

func TestBuildRefusesAnEnvironmentThatCannotBeSet(t *testing.T) {
	b := newBuildTest(t, `result '{}'`)
	b.request.Properties.Environment = []string{"A B=" + secret}
	_, err := b.build(t.Context(), t)
	requireFault(t, err, api.ErrStaging, true, `"A B" is no name`)
}

func TestBuildSetsLimits(t *testing.T) {
	b := newBuildTest(t, `until [ -e "$out/go" ]; do sleep 0.01; done; result '{}'`)
	b.request.MemoryLimit = 2048
	b.request.EgressNetworkRules = []api.EgressRule{{Protocol: "tcp", Destination: "10.0.0.0/8", Ports: "80,443"}}
	b.config.Staging.BandwidthLimit = &config.BandwidthLimit{Rate: 1_000_000, Burst: 2_000_000}
	b.interrupt(t, "runs")
	ctx, client := t.Context(), b.server.Client
	memory, err := client.LimitMemory(ctx, &wardenpb.LimitMemoryRequest{Handle: b.handle()})
	require.NoError(t, err)
	require.EqualValues(t, 2048<<20, memory.GetLimitInBytes())
	disk, err := client.LimitDisk(ctx, &wardenpb.LimitDiskRequest{Handle: b.handle()})
	require.NoError(t, err)
	require.EqualValues(t, 2048<<20, disk.GetByteLimit())
	cpu, err := client.LimitCPU(ctx, &wardenpb.LimitCpuRequest{Handle: b.handle()})
	require.NoError(t, err)
	require.EqualValues(t, 512, cpu.GetLimitInShares())
	info, err := client.Info(ctx, &wardenpb.InfoRequest{Handle: b.handle()})
	require.NoError(t, err)
	require.EqualValues(t, 1_000_000, info.GetBandwidthStat().GetInRate())
}

func TestBuildThatWritesTooMuch(t *testing.T) {
	b := newBuildTest(t, `for file in droplet.tgz buildpack_cache.tgz; do
		head -c 1G /dev/zero > "$out/$file" || stat -c %s "$out/$file" >> "$out/sizes"; done; sleep 1000`)
	b.config.Staging.DiskLimitMB, b.config.Staging.Limits.LogMB = 4, 1
	// The second time as an attempt hears of it that did not stop it.
	for range 2 {
		_, err := b.build(t.Context(), t)
		requireFault(t, err, api.ErrStaging, true, "larger than its disk of 4 MB could hold")
	}
	require.Equal(t, strings.Repeat("71303168\n", 2), b.read(t, "sizes"), "no file is larger than the disk, and what packing adds")
	info, err := b.server.Client.Info(t.Context(), &wardenpb.InfoRequest{Handle: b.handle()})
	require.NoError(t, err)
	require.Equal(t, "stopped", info.GetState())
}

func (b *buildTest) setUp(t *testing.T) (activities.SetUpResult, error) {
	t.Helper()
	return execute(t.Context(), t, b.containers(b.server, b.runner).SetUp, activities.SetUpParams{Request: b.request})
}

func TestSetUpMakesTheContainerOnce(t *testing.T) {
	b := newBuildTest(t, `result '{"detected_buildpack":"x"}'`)
	first, err := b.setUp(t)
	require.NoError(t, err)
	require.NotZero(t, first.PackageBytes)
	info, err := b.server.Client.Info(t.Context(), &wardenpb.InfoRequest{Handle: b.handle()})
	require.NoError(t, err)
	require.Equal(t, "active", info.GetState())
	require.FileExists(t, b.out(runspec.FileLog), "its log can be followed")

	again, err := b.setUp(t)
	require.NoError(t, err)
	require.Equal(t, first.PackageBytes, again.PackageBytes)
	result, err := b.build(t.Context(), t)
	require.NoError(t, err)
	require.Equal(t, "x", result.Result.DetectedBuildpack)
	_, err = b.setUp(t)
	require.NoError(t, err, "a build that has ended needs no container")
	require.Equal(t, "run\n", b.read(t, "runs"))
}

func TestCleanUpTwice(t *testing.T) {
	b := newBuildTest(t, `echo said > "$out/staging.log"; : > "$out/ready"; sleep 1000`)
	b.interrupt(t, "ready")
	cleanUp := b.containers(b.server, b.runner).CleanUp
	for range 2 {
		_, err := execute(t.Context(), t, silently(cleanUp), activities.CleanUpParams{TaskID: "task"})
		require.NoError(t, err)
	}
	_, err := b.server.Client.Info(t.Context(), &wardenpb.InfoRequest{Handle: b.handle()})
	require.ErrorIs(t, err, warden.ErrUnknownHandle)
	require.NoDirExists(t, b.workspaces.Path("task").Dir())
	requireFile(t, filepath.Join(b.workspaces.KeptLog("task"), runspec.FileLog), []byte("said\n"))
}

func TestCleanUpKeepsNoLogThatNobodyWants(t *testing.T) {
	b := newBuildTest(t, `: > "$out/ready"; sleep 1000`)
	b.config.Staging.LogLifetime = 0
	b.interrupt(t, "ready")
	_, err := execute(t.Context(), t, silently(b.containers(b.server, b.runner).CleanUp), activities.CleanUpParams{TaskID: "task"})
	require.NoError(t, err)
	require.NoDirExists(t, b.workspaces.KeptLog("task"))
}
