package main_test

import (
	"archive/tar"
	"compress/gzip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/runspec"
)

func TestStageMakesADroplet(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"run.sh*": script("echo hi"), "src/data.txt": "data"})
	c.order(nil,
		classic("echo not mine; echo not mine either >&2; exit 1", "exit 9", "exit 9"),
		classic(`[ -f "$1/src/data.txt" ] && echo "Test pack"; echo "looking closely" >&2`,
			`echo "-----> Compiling in $(pwd)"; echo "app $1 cache $2"; for i in 1 2 3; do echo out $i; echo err $i >&2; done
echo built > "$1/built"; echo kept > "$2/kept"; mkfifo "$1/pipe"; ln -s /usr/bin/env "$1/env"
[ -e "$1/../../../app/run.sh" ] && echo "/app is there"; echo "user says $GREETING"`,
			releaseWeb),
	)
	status, result := c.stage("GREETING=hello there")
	require.Equal(t, runspec.ExitOK, status)
	require.Nil(t, result.Error)
	require.Equal(t, "Test pack", result.DetectedBuildpack)
	require.Equal(t, "bp1", result.BuildpackKey)
	require.Equal(t, "./from-release", result.StartCommand)
	require.Equal(t, map[string]string{"web": "./from-release"}, result.Procfile)
	var phases []string
	for _, p := range result.Phases {
		phases = append(phases, p.Name)
	}
	require.Equal(t, []string{"unpack", "detect", "compile", "release", "pack", "cache"}, phases)

	log := c.log()
	require.True(t, strings.HasPrefix(log, "-----> Downloaded app package ("), log)
	require.Contains(t, log, "looking closely\n")
	require.NotContains(t, log, "not mine", "a buildpack that does not fit has nothing to tell")
	require.Contains(t, log, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n", "the order of both outputs is kept")
	require.Contains(t, log, "/app is there\n")
	require.Contains(t, log, "user says hello there\n")
	require.Contains(t, log, "-----> Uploading droplet ("+archive.FormatSize(result.DropletSize)+")\n")
	require.Contains(t, log, `("app/pipe")`)

	out := t.TempDir()
	_, err := archive.UnpackTarFile(t.Context(), c.path(runspec.PathOut+"/"+runspec.FileDroplet), out, archive.Options{FromContainer: true})
	require.NoError(t, err)
	for _, name := range []string{"app/run.sh", "app/built", "logs/staging_task.log", "tmp", "staging_info.yml"} {
		_, err := os.Stat(filepath.Join(out, name))
		require.NoError(t, err, name)
	}
	require.NoFileExists(t, filepath.Join(out, "app/pipe"))
	require.Equal(t, runspec.StagingInfo{
		BuildpackPath: runspec.PathBuildpack(1), DetectedBuildpack: "Test pack", StartCommand: "./from-release",
		EffectiveProcfile: map[string]string{"web": "./from-release"},
	}, c.info())
	require.Positive(t, result.CacheSize)
	require.NoDirExists(t, c.path(runspec.PathUnstaged))
}

func TestStageBringsTheCacheBack(t *testing.T) {
	t.Parallel()
	pack := classic("echo P", `echo "cache was: $(cat "$2/kept" 2>/dev/null)"; echo more >> "$2/kept"`, releaseWeb)
	first := newContainer(t)
	first.pack(files{"a": "a"})
	first.order(nil, pack)
	_, result := first.stage()
	require.Contains(t, first.log(), "cache was: \n")
	require.NotContains(t, first.log(), "buildpack cache (")
	require.Positive(t, result.CacheSize)

	second := newContainer(t)
	second.pack(files{"a": "a"})
	second.order(nil, pack)
	second.write(runspec.PathIn+"/"+runspec.FileCache, first.read(runspec.PathOut+"/"+runspec.FileBuildpackCache), 0o644)
	status, _ := second.stage()
	require.Equal(t, runspec.ExitOK, status)
	require.Contains(t, second.log(), "-----> Downloaded app buildpack cache (")
	require.Contains(t, second.log(), "cache was: more\n")
}

func TestStageGoesOnWithoutABrokenCache(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": "a"})
	c.order(nil, classic("echo P", `ls -A "$2" | wc -l`, releaseWeb))
	c.write(runspec.PathIn+"/"+runspec.FileCache, "no tar.gz at all", 0o644)
	status, result := c.stage()
	require.Equal(t, runspec.ExitOK, status)
	require.Zero(t, result.CacheSize)
	require.Contains(t, c.log(), "cannot be used; staging goes on without it\n")
	require.Contains(t, c.log(), "\n0\n", "the cache directory must be empty")
	require.Empty(t, c.read(runspec.PathOut+"/"+runspec.FileBuildpackCache))
}

func TestStageUsesTheSelectedBuildpack(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(func(s *runspec.Spec) { s.SkipDetect, s.Buildpacks = true, s.Buildpacks[1:2] },
		classic("echo First", "exit 3", releaseWeb),
		classic("exit 1", "echo second compiles", releaseWeb))
	status, result := c.stage()
	require.Equal(t, runspec.ExitOK, status)
	require.Equal(t, "bp1", result.BuildpackKey)
	require.Equal(t, "bp1", result.DetectedBuildpack)
	require.Contains(t, c.log(), "second compiles")
}

func TestStageFails(t *testing.T) {
	t.Parallel()
	good := classic("echo P", "true", releaseWeb)
	tests := map[string]struct {
		app     files
		zip     string
		packs   []files
		kind    runspec.ErrorType
		status  int
		message string
		log     string
	}{
		"not a zip": {
			zip: "this is no zip", packs: []files{good}, kind: runspec.ErrStaging, status: runspec.ExitStaging,
			message: "The app package cannot be used: the file is not a zip",
		},
		"climbing name": {
			app: files{"../evil": "x"}, packs: []files{good}, kind: runspec.ErrStaging, status: runspec.ExitStaging,
			message: `The app package cannot be used: "../evil" leaves the directory with ".."`,
		},
		"Procfile no map": {
			app: files{"Procfile": "just text"}, packs: []files{good}, kind: runspec.ErrStaging, status: runspec.ExitStaging,
			message: "Invalid Procfile format.  Please ensure it is a valid YAML hash",
		},
		"Procfile no YAML": {
			app: files{"Procfile": "web: [a"}, packs: []files{good}, kind: runspec.ErrStaging, status: runspec.ExitStaging,
			message: "Invalid Procfile format.  Please ensure it is a valid YAML hash",
		},
		"nothing fits": {
			app: files{"a": ""}, packs: []files{classic("exit 1", "", ""), classic("exit 1", "", "")},
			kind: runspec.ErrNoAppDetected, status: runspec.ExitNoAppDetected,
			message: "An application could not be detected by any available buildpack",
		},
		"detect breaks": {
			app: files{"a": ""}, packs: []files{classic("echo 'detect is broken' >&2; exit 3", "", "")},
			kind: runspec.ErrNoAppDetected, status: runspec.ExitNoAppDetected,
			message: "An application could not be detected by any available buildpack",
			log:     "bin/detect ended with exit status 3\ndetect is broken\n",
		},
		"detect is missing": {
			app: files{"a": ""}, packs: []files{{"README": ""}},
			kind: runspec.ErrNoAppDetected, status: runspec.ExitNoAppDetected,
			message: "An application could not be detected by any available buildpack",
			log:     "bin/detect is not there",
		},
		"detect is not executable": {
			app: files{"a": ""}, packs: []files{{"bin/detect": script("echo hi")}},
			kind: runspec.ErrNoAppDetected, status: runspec.ExitNoAppDetected,
			message: "An application could not be detected by any available buildpack",
			log:     "bin/detect is not executable",
		},
		"compile fails": {
			app: files{"a": ""}, packs: []files{classic("echo P", "echo 'no such gem'; exit 7", releaseWeb)},
			kind: runspec.ErrCompile, status: runspec.ExitCompile,
			message: "Buildpack compilation step failed", log: "no such gem\n-----> Buildpack bp0: bin/compile ended with exit status 7\n",
		},
		"compile is killed": {
			app: files{"a": ""}, packs: []files{classic("echo P", "kill -9 $$", releaseWeb)},
			kind: runspec.ErrCompile, status: runspec.ExitCompile,
			message: "Buildpack compilation step failed", log: "exit status 137",
		},
		"compile is missing": {
			app: files{"a": ""}, packs: []files{{"bin/detect*": script("echo P")}},
			kind: runspec.ErrCompile, status: runspec.ExitCompile, message: "Buildpack compilation step failed",
		},
		"release fails": {
			app: files{"a": ""}, packs: []files{classic("echo P", "true", "echo oops >&2; exit 4")},
			kind: runspec.ErrRelease, status: runspec.ExitRelease,
			message: "Release info failed: bin/release ended with exit status 4", log: "oops\n",
		},
		"a bad Procfile before a bad release": {
			app: files{"Procfile": "just text"}, packs: []files{classic("echo P", "true", "exit 1")},
			kind: runspec.ErrStaging, status: runspec.ExitStaging,
			message: "Invalid Procfile format.  Please ensure it is a valid YAML hash",
		},
		"release prints no map": {
			app: files{"a": ""}, packs: []files{classic("echo P", "true", "echo '- a'")},
			kind: runspec.ErrRelease, status: runspec.ExitRelease,
			message: "Release info failed: bin/release did not print a YAML hash",
		},
		"release prints wrong types": {
			app: files{"a": ""}, packs: []files{classic("echo P", "true", "echo 'default_process_types: [web]'")},
			kind: runspec.ErrRelease, status: runspec.ExitRelease,
			message: "Release info failed: bin/release did not print a YAML hash",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			if test.app != nil {
				c.pack(test.app)
			} else {
				c.write(runspec.PathIn+"/"+runspec.FilePackage, test.zip, 0o644)
			}
			c.order(nil, test.packs...)
			status, result := c.stage()
			require.Equal(t, test.status, status)
			require.NotNil(t, result.Error)
			require.Equal(t, test.kind, result.Error.Type)
			require.Equal(t, test.message, result.Error.Message)
			require.Contains(t, c.log(), test.log)
			require.True(t, strings.HasSuffix(c.log(), "Staging failed: "+test.message+"\n"), c.log())
			require.Equal(t, &runspec.StagingFault{Type: test.kind, Message: test.message}, c.info().StagingError)
			require.Empty(t, c.read(runspec.PathOut+"/"+runspec.FileDroplet))
		})
	}
}

func TestStageRunsOnce(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(nil, classic("echo P", `echo compiled >> "$2/times"`, releaseWeb))
	status, result := c.stage()
	require.Equal(t, runspec.ExitOK, status)
	again, stderr := c.run(nil, "stage")
	require.Equal(t, runspec.ExitAlreadyStarted, again)
	require.Contains(t, stderr, "staged already")
	require.Equal(t, "compiled\n", c.read(runspec.PathCache+"/times"))
	require.Equal(t, result, c.result())
}

func TestStageWithoutAnOrderIsThePlatformsFault(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	status, result := c.stage()
	require.Equal(t, runspec.ExitInternal, status)
	require.Equal(t, runspec.ErrStager, result.Error.Type)
	require.NotContains(t, result.Error.Message, c.root)
	require.Contains(t, result.Error.Cause, runspec.FileSpec)
}

func TestStageExpires(t *testing.T) {
	t.Parallel()
	for phase, pack := range map[string]files{
		"detect":  classic("sleep 1000; echo P", "true", releaseWeb),
		"compile": classic("echo P", "sleep 1000 & echo $! > \"$2/pid\"; trap '' TERM; sleep 1000", releaseWeb),
		"release": classic("echo P", "true", "sleep 1000"),
	} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.pack(files{"a": ""})
			c.order(func(s *runspec.Spec) { s.TimeoutSeconds = 2 }, pack)
			begun := time.Now()
			status, result := c.stage()
			require.Less(t, time.Since(begun), 30*time.Second)
			require.Equal(t, runspec.ExitTimeExpired, status)
			require.Equal(t, runspec.ErrTimeExpired, result.Error.Type)
			require.Equal(t, "Staging time expired", result.Error.Message)
			require.True(t, strings.HasSuffix(c.log(), "Staging failed: Staging time expired\n"))
			if phase == "compile" {
				requireGone(t, c.read(runspec.PathCache+"/pid"))
			}
		})
	}
}

// Whatever compile leaves behind neither holds the staging up nor works on while the droplet is packed.
func TestStageDoesNotWaitForWhatCompileLeaves(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(nil, classic("echo P", `sleep 1000 & echo $! > "$2/pid"
exec > >(while read -r line; do sleep 0.3; echo "indented $line"; done)
echo last words`, releaseWeb))
	begun := time.Now()
	status, _ := c.stage()
	require.Less(t, time.Since(begun), 30*time.Second)
	require.Equal(t, runspec.ExitOK, status)
	require.Contains(t, c.log(), "indented last words\n", "what a filter still holds is waited for")
	requireGone(t, c.read(runspec.PathCache+"/pid"))
}

// A daemon that leaves its process group keeps the pipe open: it is not waited for either.
func TestStageDoesNotWaitForADaemon(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(nil, classic("echo P", `setsid sh -c 'echo $$ > "'"$2"'/pid"; exec sleep 1000' & while [ ! -s "$2/pid" ]; do sleep 0.01; done`, releaseWeb))
	begun := time.Now()
	status, _ := c.stage()
	pid := c.read(runspec.PathCache + "/pid")
	t.Cleanup(func() { _ = syscall.Kill(number(t, pid), syscall.SIGKILL) })
	require.Less(t, time.Since(begun), 30*time.Second)
	require.Equal(t, runspec.ExitOK, status)
}

func TestStageEndsWhenItIsStopped(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": ""})
	c.order(nil, classic("echo P", `sleep 1000 & echo $! > "$2/pid"; wait`, releaseWeb))
	cmd := c.command(nil, "stage")
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		data, err := os.ReadFile(c.path(runspec.PathCache + "/pid"))
		return err == nil && len(data) > 1
	}, patience, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	require.Equal(t, runspec.ExitInternal, cmd.ProcessState.ExitCode())
	require.Equal(t, "Staging was stopped", c.result().Error.Message)
	requireGone(t, c.read(runspec.PathCache+"/pid"))
}

func TestDropletIsATarGzForEverybody(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	c.pack(files{"a": "content"})
	c.order(nil, classic("echo P", "true", releaseWeb))
	c.stage()
	f, err := os.Open(c.path(runspec.PathOut + "/" + runspec.FileDroplet))
	require.NoError(t, err)
	defer f.Close()
	inflated, err := gzip.NewReader(f)
	require.NoError(t, err)
	header, err := tar.NewReader(inflated).Next()
	require.NoError(t, err)
	require.Equal(t, "app/", header.Name)
}

func requireGone(t *testing.T, pid string) {
	t.Helper()
	n := number(t, pid)
	require.Eventually(t, func() bool { return syscall.Kill(n, 0) != nil || zombie(n) }, patience, 10*time.Millisecond)
}

// zombie tells whether a process is dead and only waits for its parent, here the machine's first process.
func zombie(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(data), ") Z ")
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	require.NoError(t, err)
	return n
}
