package main_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/logtimes"
	"github.com/durable-dea/dea/internal/runspec"
)

func TestUnpackPutsTheDropletInPlace(t *testing.T) {
	t.Parallel()
	staged := newContainer(t)
	staged.pack(files{"run.sh*": script("echo hi")})
	staged.order(nil, classic("echo P", `ln -s /usr/bin/env "$1/env"`, releaseWeb))
	staged.stage()
	c := staged.instance()
	status, stderr := c.run(nil, "unpack")
	require.Equal(t, runspec.ExitOK, status, stderr)
	require.Equal(t, script("echo hi"), c.read(runspec.PathInstanceApp+"/run.sh"))
	require.Equal(t, script("echo hi"), c.read(runspec.PathApp+"/run.sh"))
	require.Contains(t, c.read(runspec.PathInstanceInfo), "./from-release")
	require.DirExists(t, c.path(runspec.PathLogs))
	target, err := os.Readlink(c.path(runspec.PathInstanceApp + "/env"))
	require.NoError(t, err)
	require.Equal(t, "/usr/bin/env", target)
}

// Two attempts of one activity may unpack at once, and a late one when the app runs already.
func TestUnpackTwiceUnpacksOnce(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.write(runspec.PathDroplet+"/"+runspec.FileDroplet, droplet(t, files{"app/a": "a", "staging_info.yml": ""}), 0o644)
	var together sync.WaitGroup
	for range 4 {
		together.Go(func() {
			status, stderr := c.run(nil, "unpack")
			if status != 0 {
				t.Errorf("unpack ended with %d: %s", status, stderr)
			}
		})
	}
	together.Wait()
	c.write(runspec.PathInstanceApp+"/a", "changed by the app", 0o644)
	status, stderr := c.run(nil, "unpack")
	require.Equal(t, runspec.ExitOK, status, stderr)
	require.Equal(t, "changed by the app", c.read(runspec.PathInstanceApp+"/a"))
	entries, err := os.ReadDir(c.path(runspec.PathHome))
	require.NoError(t, err)
	for _, entry := range entries {
		require.NotContains(t, entry.Name(), ".dea", "something is left of the unpacking")
	}
}

func TestUnpackAfterADeathBeginsAnew(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.write(runspec.PathDroplet+"/"+runspec.FileDroplet, droplet(t, files{"app/a": "a"}), 0o644)
	c.write(runspec.PathHome+"/.dea-unpack/app/half", "half", 0o644)
	c.write(runspec.PathInstanceApp+"/half", "half", 0o644)
	status, stderr := c.run(nil, "unpack")
	require.Equal(t, runspec.ExitOK, status, stderr)
	require.Equal(t, "a", c.read(runspec.PathInstanceApp+"/a"))
	require.NoFileExists(t, c.path(runspec.PathInstanceApp+"/half"))
}

func TestUnpackRefusesABadDroplet(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"no tar.gz": "text", "climbs": droplet(t, files{"app/a": "a", "../evil": "x"}), "cut off": droplet(t, files{"a": "a"})[:40],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.write(runspec.PathDroplet+"/"+runspec.FileDroplet, content, 0o644)
			status, stderr := c.run(nil, "unpack")
			require.Equal(t, runspec.ExitBadDroplet, status)
			require.Contains(t, stderr, "The droplet cannot be used: ")
			require.NoDirExists(t, c.path(runspec.PathInstanceApp))
			require.NoFileExists(t, c.path("/home/evil"))
		})
	}
	c := newContainer(t)
	status, _ := c.run(nil, "unpack")
	require.Equal(t, runspec.ExitInternal, status, "a droplet that is not there is the platform's fault")
}

// launchable is an instance's container with an app in it.
func launchable(t *testing.T, app files) *container {
	t.Helper()
	c := newContainer(t)
	for name, content := range app {
		mode := os.FileMode(0o644)
		if strings.HasSuffix(name, "*") {
			mode = 0o755
		}
		c.write(runspec.PathInstanceApp+"/"+strings.TrimSuffix(name, "*"), content, mode)
	}
	require.NoError(t, os.MkdirAll(c.path(runspec.PathLogs), 0o755))
	return c
}

func TestLaunchRunsTheCommand(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{
		"run*":                script(`echo "$GREETING from $(pwd)"`, "echo oops >&2", "umask", "touch made", "exit 7"),
		".profile.d/10-a.sh":  "export GREETING=hello",
		".profile.d/20-b.sh":  `export GREETING="$GREETING $NAME"`,
		".profile.d/note.txt": "exit 99",
	})
	status, _ := c.run([]string{"NAME=wörld"}, "launch", "--command", `./run "a b" || exit $?`)
	require.Equal(t, 7, status)
	require.Equal(t, "hello wörld from "+c.path(runspec.PathInstanceApp)+"\n0077\n", c.read(runspec.PathStdout))
	require.Equal(t, "oops\n", c.read(runspec.PathStderr))
	require.Equal(t, "7\n", c.read(runspec.PathExitStatus))
	require.NoFileExists(t, c.path(runspec.PathLaunchFault))
	info, err := os.Stat(c.path(runspec.PathInstanceApp + "/made"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

// What was supplied comes first: the app's own scripts may change it.
func TestLaunchSourcesWhatWasSupplied(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{".profile.d/0.sh": `export TOOL="$TOOL, then the app's"`})
	c.write(runspec.PathInstanceProfile+"/1.sh", `export TOOL="the second's"`, 0o644)
	c.write(runspec.PathInstanceProfile+"/0.sh", `export TOOL="the first's"`, 0o644)
	c.write(runspec.PathInstanceDeps+"/0/tool", "", 0o644)
	status, _ := c.run(nil, "launch", "--command", `echo "$TOOL"; ls "$DEPS_DIR/0"`)
	require.Equal(t, 0, status)
	require.Equal(t, "the second's, then the app's\ntool\n", c.read(runspec.PathStdout))
	require.Empty(t, c.read(runspec.PathStderr))
}

func TestLaunchTakesTheDropletsCommand(t *testing.T) {
	t.Parallel()
	c := launchable(t, nil)
	require.NoError(t, os.MkdirAll(c.path(runspec.PathInstanceApp), 0o755))
	c.write(runspec.PathInstanceInfo, "start_command: 'echo \"from $0 the droplet\"; exit 3'\neffective_procfile: [odd]\n", 0o644)
	status, _ := c.run(nil, "launch")
	require.Equal(t, 3, status)
	require.Contains(t, c.read(runspec.PathStdout), "the droplet\n")
}

func TestLaunchWithoutACommand(t *testing.T) {
	t.Parallel()
	for name, info := range map[string]string{"none": "", "empty": "start_command: ''\n", "another": "detected_buildpack: Go\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := launchable(t, files{"a": ""})
			if info != "" {
				c.write(runspec.PathInstanceInfo, info, 0o644)
			}
			status, stderr := c.run(nil, "launch")
			require.Equal(t, runspec.ExitMissingCommand, status)
			require.Contains(t, stderr, "missing start command")
			require.Equal(t, "missing start command\n", c.read(runspec.PathLaunchFault))
			require.Equal(t, "missing start command\n", c.read(runspec.PathStderr))
			require.Equal(t, "124\n", c.read(runspec.PathExitStatus))
		})
	}
}

func TestLaunchFaultsAreNotTheApps(t *testing.T) {
	t.Parallel()
	c := launchable(t, nil) // without an app directory
	status, _ := c.run(nil, "launch", "--command", "true")
	require.Equal(t, runspec.ExitLaunch, status)
	require.Contains(t, c.read(runspec.PathLaunchFault), "the start command cannot be run")

	c = launchable(t, files{"a": ""})
	status, _ = c.run(nil, "launch", "--command", "exit 124")
	require.Equal(t, runspec.ExitMissingCommand, status)
	require.NoFileExists(t, c.path(runspec.PathLaunchFault))

	c = launchable(t, files{"a": ""})
	status, _ = c.run(nil, "launch", "--command", "nonesuch")
	require.Equal(t, 127, status)
	require.Contains(t, c.read(runspec.PathStderr), "nonesuch")
}

func TestLaunchCountsSignalsAsShellsDo(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{"a": ""})
	status, _ := c.run(nil, "launch", "--command", "kill -9 $$")
	require.Equal(t, 137, status)
	require.Equal(t, "137\n", c.read(runspec.PathExitStatus))
}

// begin launches an app and waits until it has said that it is up.
func (c *container) begin(args ...string) *exec.Cmd {
	c.t.Helper()
	cmd := c.command(nil, append([]string{"launch"}, args...)...)
	require.NoError(c.t, cmd.Start())
	c.t.Cleanup(func() { _ = cmd.Process.Kill() })
	c.awaitOutput("up")
	return cmd
}

func (c *container) awaitOutput(text string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		data, _ := os.ReadFile(c.path(runspec.PathStdout))
		return bytes.Contains(data, []byte(text))
	}, patience, 5*time.Millisecond)
}

// await waits for the end and gives the exit status.
func await(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode()
}

const counting = `heard=0; trap 'heard=$((heard+1)); echo heard $heard' TERM; trap 'echo hup' HUP
echo up; for i in $(seq 1 40); do sleep 0.02; done; echo done after $heard; exit 5`

// A Warden tells every process of a container: the app must hear it once, and is given the time that it needs.
func TestLaunchLeavesAnAppThatWasToldInPeace(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{"run*": script(counting)})
	cmd := c.begin("--command", "./run")
	for _, pid := range descendants(t, cmd.Process.Pid) {
		if comm(pid) != "sleep" {
			_ = syscall.Kill(pid, syscall.SIGTERM) // one that has just ended is no loss
		}
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 5, await(t, cmd))
	require.Equal(t, "up\nheard 1\ndone after 1\n", c.read(runspec.PathStdout))
}

// Told alone, launch passes TERM on when the grace is over.
func TestLaunchPassesTermOn(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{"run*": script(`trap 'echo heard; exit 6' TERM; echo up; while :; do sleep 0.02; done`)})
	cmd := c.begin("--command", "./run", "--grace", "100ms")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 6, await(t, cmd))
	require.Equal(t, "up\nheard\n", c.read(runspec.PathStdout))
	require.Equal(t, "6\n", c.read(runspec.PathExitStatus))
}

func TestLaunchPassesOtherSignalsOnAtOnce(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{"run*": script(`trap 'echo usr1' USR1; trap 'echo int; exit 4' INT; echo up; while :; do sleep 0.02; done`)})
	cmd := c.begin("--command", "./run")
	require.NoError(t, cmd.Process.Signal(syscall.SIGUSR1))
	c.awaitOutput("usr1\n")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Equal(t, 4, await(t, cmd))
}

// A shell dies of TERM at once; what it has started gets the time to end well.
func TestLaunchWaitsForTheRestOfAStoppingApp(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{"slow*": script(`trap 'sleep 0.5; echo finished; exit 0' TERM; echo up; while :; do sleep 0.02; done`)})
	cmd := c.begin("--command", "./slow; echo never")
	for _, pid := range descendants(t, cmd.Process.Pid) {
		if comm(pid) != "sleep" {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 128+15, await(t, cmd))
	require.Equal(t, "up\nfinished\n", c.read(runspec.PathStdout))
}

// An app whose first process ends has ended, whatever it leaves in the background.
func TestLaunchEndsWithTheFirstProcess(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{"a": ""})
	begun := time.Now()
	status, _ := c.run(nil, "launch", "--command", "sleep 1000 & echo $!; exit 9")
	require.Equal(t, 9, status)
	require.Less(t, time.Since(begun), 20*time.Second)
	_ = syscall.Kill(number(t, c.read(runspec.PathStdout)), syscall.SIGKILL)
}

func TestLaunchBoundsTheLogs(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{"a": ""})
	status, _ := c.run(nil, "launch", "--log-rate", "0", "--command", "head -c 200000000 /dev/zero; echo the end")
	require.Equal(t, 0, status)
	total := int64(0)
	for _, name := range []string{runspec.PathStdout, runspec.PathStdout + ".1"} {
		info, err := os.Stat(c.path(name))
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(64<<20))
		total += info.Size()
	}
	require.Greater(t, total, int64(64<<20))
	require.True(t, strings.HasSuffix(c.read(runspec.PathStdout), "the end\n"))
	require.ElementsMatch(t, []string{"stdout.log", "stdout.log.1", ".stdout.times", ".stdout.times.1", "stderr.log"}, c.logFiles())
}

// An app may write for ever, as fast as it can: it is not held up, and its last words and how much is missing are in
// the log.
func TestLaunchLimitsTheLogs(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{"a": ""})
	const line = "a line of an app that says more than anybody reads"
	cmd := c.command(nil, "launch", "--log-rate", "100000", "--log-burst", "200000",
		"--command", "yes '"+line+"' | head -c 1073741824; echo; echo the last words; grep VmHWM /proc/$PPID/status >&2; exit 3")
	require.NoError(t, cmd.Start())
	require.Equal(t, 3, await(t, cmd))
	// The app looks: what wait tells of a process counts the one that started it in.
	memory := 0
	_, err := fmt.Sscanf(c.read(runspec.PathStderr), "VmHWM: %d kB\n", &memory)
	require.NoError(t, err)
	require.Less(t, memory, 100<<10, "KiB of memory")

	written, dropped := 0, 0
	log := c.read(runspec.PathStdout)
	for text := range strings.Lines(log) {
		var lines, size int
		if _, err := fmt.Sscanf(text, "[dea] dropped %d lines (%d bytes)", &lines, &size); err == nil {
			require.Equal(t, size, lines*len(line+"\n"))
			dropped += size
			continue
		}
		written += len(text)
	}
	require.Equal(t, 1<<30+len("\nthe last words\n"), written+dropped)
	require.Greater(t, dropped, 1<<29)
	require.True(t, strings.HasSuffix(log, line[:1<<30%len(line+"\n")]+"\nthe last words\n"))
	require.Contains(t, log, ": over the limit of 100000 bytes a second\n")
	require.ElementsMatch(t, []string{"stdout.log", ".stdout.times", "stderr.log", ".stderr.times"}, c.logFiles())
	info, err := os.Stat(c.path(logtimes.Name(runspec.PathStdout)))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(1<<20), "times are few")
}

// A log over the limit of its file loses what it has no room for, and the app nothing.
func TestLaunchOutlivesItsFileLimit(t *testing.T) {
	t.Parallel()
	c := launchable(t, files{"a": ""})
	runner := c.command(nil, "launch", "--command", "head -c 1000000 /dev/zero; exit 4")
	cmd := exec.Command("/bin/bash", append([]string{"-c", `ulimit -f 100; exec "$0" "$@"`}, runner.Args...)...)
	cmd.Env, cmd.Dir = runner.Env, runner.Dir
	require.NoError(t, cmd.Start())
	require.Equal(t, 4, await(t, cmd))
	require.Len(t, c.read(runspec.PathStdout), 100<<10)
}

func TestUsage(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	for _, args := range [][]string{{"nonesuch"}, {"stage", "more"}, {"stage", "--nonesuch"}} {
		status, stderr := c.run(nil, args...)
		require.Equal(t, runspec.ExitUsage, status)
		require.Contains(t, stderr, "Usage:")
	}
}

// droplet makes one as another stager may have made it.
func droplet(t *testing.T, content files) string {
	t.Helper()
	var buffer bytes.Buffer
	deflated := gzip.NewWriter(&buffer)
	writer := tar.NewWriter(deflated)
	for name, text := range content {
		require.NoError(t, writer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o644}))
		_, err := writer.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, writer.Close())
	require.NoError(t, deflated.Close())
	return buffer.String()
}

// descendants are all processes beneath one.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	var all []int
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	require.NoError(t, err)
	for _, task := range tasks {
		data, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(data)) {
			child := number(t, field)
			all = append(append(all, child), descendants(t, child)...)
		}
	}
	return all
}

func comm(pid int) string {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return strings.TrimSpace(string(data))
}
