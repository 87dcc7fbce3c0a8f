package ociruntime

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func options(t *testing.T, path string) Options {
	t.Helper()
	return Options{Path: path, StateDir: stateDir(t), InitBinary: initBinary}
}

// leavesNothing checks what a Find has left behind, which may be the directories.
func leavesNothing(t *testing.T, opts Options) {
	t.Helper()
	f := &finder{opts: opts}
	require.Empty(t, cgroups(t, f.cgroup()))
	for _, name := range []string{runtimeName, recordsName} {
		entries, err := os.ReadDir(filepath.Join(opts.StateDir, name))
		require.NoError(t, err)
		for _, entry := range entries {
			require.Error(t, checkID(entry.Name()), "%s is left", entry.Name())
		}
	}
	require.NoDirExists(t, filepath.Join(opts.StateDir, probeName))
}

func TestFind(t *testing.T) {
	needRoot(t)
	before := mountsOf(t, "/proc/self/mountinfo")
	for _, name := range []string{"", "crun", "runc"} {
		opts := options(t, name)
		r, err := Find(t.Context(), opts)
		require.NoError(t, err)
		t.Logf("%q: %s", name, r)
		require.Contains(t, r.String(), name)
		leavesNothing(t, opts)
	}
	require.Equal(t, before, mountsOf(t, "/proc/self/mountinfo"))
	require.Equal(t, before, mountsOf(t, "/proc/thread-self/mountinfo"))
}

func TestFindHidesOnlyWhereThatHelps(t *testing.T) {
	r := find(t, "runc")
	require.Empty(t, r.hide, "runc works as it is")
	hide, err := leftovers()
	require.NoError(t, err)
	if len(hide) == 0 {
		t.Skip("no cgroup v2 mount beside v1 hierarchies")
	}
	c := find(t, "crun")
	if len(c.hide) == 0 {
		t.Skip("this crun takes a hybrid")
	}
	require.Equal(t, hide, c.hide)
	require.Contains(t, c.String(), "(cgroup v2 mount hidden)")
}

func TestFindUnusable(t *testing.T) {
	needRoot(t)
	for _, c := range []struct{ name, path, want string }{
		{"none", "/no/such/runtime", "no such file or directory"},
		{"a program that fails", script(t, `echo "words of its own" >&2; exit 3`), "words of its own"},
		{"a program that says nothing", script(t, `exit 3`), "exit status 3"},
		{"one that logs", script(t, `
case "$1" in --version) echo "odd version 7"; exit;; esac
echo '{"level":"error","msg":"noise"}
{"level":"error","msg":"the cause"}
{"level":"info","msg":"bye"}' > "$4"
exit 1`), "odd 7: run: the cause"},
		{"one that claims to have worked", script(t, `echo "odd version 7"`), "did not say the pid"},
		{"a directory", "/", "is a directory"},
		{"one that is no runtime", "/bin/true", "did not say the pid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := options(t, c.path)
			_, err := Find(t.Context(), opts)
			var unusable *UnusableError
			require.ErrorAs(t, err, &unusable)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "install crun or runc")
			require.NotContains(t, err.Error(), "noise")
			require.NotEmpty(t, unusable.Tried)
			leavesNothing(t, opts)
		})
	}
}

func TestFindTellsOfEach(t *testing.T) {
	needRoot(t)
	bin := t.TempDir()
	for _, name := range []string{"crun", "runc"} {
		require.NoError(t, os.Rename(script(t, "echo "+name+" is broken >&2; exit 1"), filepath.Join(bin, name)))
	}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	_, err := Find(t.Context(), options(t, ""))
	require.ErrorContains(t, err, "crun is broken")
	require.ErrorContains(t, err, "runc is broken")
	t.Setenv("PATH", t.TempDir())
	_, err = Find(t.Context(), options(t, ""))
	require.ErrorIs(t, err, exec.ErrNotFound)
}

// TestFindFallsBack: crun does not work, runc does.
func TestFindFallsBack(t *testing.T) {
	needRoot(t)
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip(err)
	}
	bin := t.TempDir()
	require.NoError(t, os.Rename(script(t, "exit 1"), filepath.Join(bin, "crun")))
	require.NoError(t, os.Symlink(runc, filepath.Join(bin, "runc")))
	t.Setenv("PATH", bin)
	r, err := Find(t.Context(), options(t, ""))
	require.NoError(t, err)
	require.Contains(t, r.String(), "runc")
}

func TestFindOneThatHangs(t *testing.T) {
	needRoot(t)
	for name, body := range map[string]string{
		"at once":   "sleep 1000",
		"in run":    `case "$1" in --version) exit;; esac; sleep 1000`,
		"in delete": `case "$*" in --version) exit;; *run*) exit 1;; esac; sleep 1000`,
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(t, script(t, "echo $$ >> "+t.TempDir()+"/pids; "+body))
			f := &finder{opts: opts, timeout: 100 * time.Millisecond}
			f.opts.Log = nullLog()
			began := time.Now()
			_, err := f.find(t.Context())
			var unusable *UnusableError
			require.ErrorAs(t, err, &unusable)
			require.Less(t, time.Since(began), wait)
			leavesNothing(t, opts)
		})
	}
}

func TestFindGivenUp(t *testing.T) {
	needRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	opts := options(t, script(t, "exec sleep 1000"))
	_, err := Find(ctx, opts)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var unusable *UnusableError
	require.NotErrorAs(t, err, &unusable)
}

func TestFindOptionsOfNoUse(t *testing.T) {
	needRoot(t)
	opts := options(t, "")
	opts.StateDir = "relative"
	_, err := Find(t.Context(), opts)
	require.ErrorContains(t, err, "no absolute path")
	opts = options(t, "")
	opts.InitBinary = "/bin/bash"
	_, err = Find(t.Context(), opts)
	require.ErrorContains(t, err, "not linked statically")
	opts = options(t, "")
	require.NoError(t, os.Chmod(filepath.Dir(opts.StateDir), 0o700))
	_, err = Find(t.Context(), opts)
	var unusable *UnusableError
	require.ErrorAs(t, err, &unusable)
	require.ErrorContains(t, err, filepath.Dir(opts.StateDir)+" does not let other users pass")
	opts.InitBinary = "/no/such"
	_, err = Find(t.Context(), opts)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestFindAProcessThatDoesNotWork: a runtime whose container's process fails.
func TestFindAProcessThatDoesNotWork(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	source := "package main\nfunc main() { panic(\"no\") }\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "init"), filepath.Join(dir, "main.go"))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	opts := options(t, "")
	opts.InitBinary = filepath.Join(dir, "init")
	_, err = Find(t.Context(), opts)
	require.ErrorContains(t, err, "panic: no")
	leavesNothing(t, opts)
}

// TestFindCleansUpAfterOneThatWasKilled: whoever tried before was killed while the container ran.
func TestFindCleansUpAfterOneThatWasKilled(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			opts := Options{StateDir: r.dir, InitBinary: initBinary, IDs: farIDs, Log: nullLog()}
			f := &finder{opts: opts, timeout: wait}
			bundle, spec, err := f.build()
			require.NoError(t, err)
			spec.Process.Args[1] = "wait"
			require.NoError(t, r.WriteBundle(bundle, spec))
			pid, err := r.Run(t.Context(), Run{ID: probeID, Bundle: bundle})
			require.NoError(t, err)
			require.False(t, ended(pid))
			ids, err := r.IDs(t.Context())
			require.NoError(t, err)
			require.Empty(t, ids)
			_, err = Find(t.Context(), opts)
			require.NoError(t, err)
			require.True(t, ended(pid))
			leavesNothing(t, opts)
		})
	}
}
