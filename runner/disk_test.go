package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/runspec"
)

// onSmallDisk runs the staging with everything but the mounts of a container on a disk of some MiB.
func (c *container) onSmallDisk(mebibytes int, options string) (int, runspec.Result) {
	c.t.Helper()
	if os.Geteuid() != 0 {
		c.t.Skip("only root can mount a small disk")
	}
	mounts := filepath.Join(c.root, "mounts")
	require.NoError(c.t, os.Mkdir(mounts, 0o755))
	runner := c.command(nil, "stage")
	script := `set -e
mount --bind "$ROOT/tmp/dea" "$ROOT/mounts"
mount -t tmpfs -o size="$SIZE"m` + options + ` tmpfs "$ROOT/tmp"
chmod 1777 "$ROOT/tmp"; mkdir "$ROOT/tmp/dea"
mount --bind "$ROOT/mounts" "$ROOT/tmp/dea"
exec "$0" "$@"`
	cmd := exec.Command("/bin/bash", append([]string{"-c", script}, runner.Args...)...)
	cmd.Env, cmd.Dir = slices.Concat(runner.Env, []string{"ROOT=" + c.root, "SIZE=" + strconv.Itoa(mebibytes)}), runner.Dir
	// The mounts are gone with the last process in this namespace.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	require.NotNil(c.t, cmd.ProcessState, "%v: %s", err, out)
	require.NotContains(c.t, string(out), "mount:", "the disk must be there")
	return cmd.ProcessState.ExitCode(), c.result()
}

func TestStageSaysThatTheDiskIsFull(t *testing.T) {
	t.Parallel()
	const full = ": the staging's disk is full"
	filling := `head -c 50M /dev/urandom > "$1/big"`
	finalizing := modern("m")
	finalizing["bin/finalize*"] = script(filling)
	tests := map[string]struct {
		app     files
		pack    files
		options string
		kind    runspec.ErrorType
		message string
	}{
		"unpack": {
			files{"big": strings.Repeat("0123456789abcdef", 2<<20)},
			classic("echo P", "true", releaseWeb), "",
			runspec.ErrStaging, "the app package cannot be unpacked" + full,
		},
		"compile": {
			files{"a": ""},
			classic("echo P", filling, releaseWeb), "",
			runspec.ErrCompile, "Buildpack compilation step failed" + full,
		},
		"finalize": {
			files{"a": ""},
			finalizing, "",
			runspec.ErrCompile, "Buildpack compilation step failed: buildpack bp0: bin/finalize ended with exit status 1" + full,
		},
		"no more files": {
			files{"a": ""},
			classic("echo P", `for i in $(seq 1000); do : > "$1/$i" || exit 1; done`, releaseWeb), ",nr_inodes=200",
			runspec.ErrCompile, "Buildpack compilation step failed" + full,
		},
		"release": {
			files{"a": ""},
			classic("echo P", filling+"; true", `echo x > "$1/more" || exit 1; `+releaseWeb), "",
			runspec.ErrRelease, "Release info failed: bin/release ended with exit status 1" + full,
		},
		"pack": {
			files{"a": ""},
			classic("echo P", filling+"; true", releaseWeb), "",
			runspec.ErrStaging, "staging_info.yml cannot be written" + full,
		},
		"another reason": {
			files{"a": ""},
			classic("echo P", filling+`; rm "$1/big"; exit 1`, releaseWeb), "",
			runspec.ErrCompile, "Buildpack compilation step failed",
		},
		"a Procfile has its own": {
			files{"Procfile": "text"},
			classic("echo P", filling+"; true", releaseWeb), "",
			runspec.ErrStaging, wordsProcfile,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.pack(test.app)
			c.order(nil, test.pack)
			status, result := c.onSmallDisk(8, test.options)
			require.NotNil(t, result.Error)
			require.Equal(t, test.message, result.Error.Message)
			require.Equal(t, test.kind, result.Error.Type)
			require.Equal(t, test.kind.ExitStatus(), status)
			require.True(t, strings.HasSuffix(c.log(), "Staging failed: "+test.message+"\n"), c.log())
		})
	}
}

func TestCloneSaysThatTheDiskIsFull(t *testing.T) {
	t.Parallel()
	stored := newRepositories(t)
	pack := version("x")
	random := make([]byte, 12<<20)
	for n := range random {
		random[n] = byte(n * n >> 7)
	}
	pack["big"] = string(random)
	stored.Make("pack.git", pack)
	c := newContainer(t)
	c.orderGit(stored.File("pack.git"), "")
	status, result := c.onSmallDisk(8, "")
	require.Equal(t, runspec.ExitStaging, status)
	require.Regexp(t, `^The buildpack `+shownKey+` cannot be cloned: .*: the staging's disk is full$`, result.Error.Message)
}

// Where neither the log nor the result can be written, the exit status tells.
func TestStageWithoutAPlaceForItsResult(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a full disk")
	}
	for name, test := range map[string]struct {
		compile string
		status  int
	}{
		"it failed": {"echo says; exit 1", runspec.ExitCompile},
		"it worked": {"echo says", runspec.ExitInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			c.pack(files{"a": ""})
			c.order(nil, classic("echo P", test.compile, releaseWeb))
			runner := c.command(nil, "stage")
			script := `set -e
mount --bind /dev/full "$OUT/result.json"; mount --bind /dev/full "$OUT/staging.log"; exec "$0" "$@"`
			cmd := exec.Command("/bin/bash", append([]string{"-c", script}, runner.Args...)...)
			cmd.Env, cmd.Dir = slices.Concat(runner.Env, []string{"OUT=" + c.path(runspec.PathOut)}), runner.Dir
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			out, _ := cmd.CombinedOutput()
			require.Equal(t, test.status, cmd.ProcessState.ExitCode(), string(out))
			require.Contains(t, string(out), "write the result")
			require.NotContains(t, string(out), "mount:")
		})
	}
}
