package ociruntime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/idmap"
	"github.com/durable-dea/dea/wardend/internal/proctree"
)

const (
	wait = 20 * time.Second
	tick = 5 * time.Millisecond
)

// initBinary is testdata/init, built once.
var initBinary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if os.Getenv(hangsVariable) != "" {
			return m.Run() // it is killed, and would leave what is made here
		}
		dir, err := os.MkdirTemp("", "ociruntime")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		initBinary = filepath.Join(dir, "init")
		build := exec.Command("go", "build", "-o", initBinary, "./testdata/init")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v: %s\n", err, out)
			return 1
		}
		return m.Run()
	}())
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers take root")
	}
}

// stateDir is one that the container's root can pass to; t.TempDir is not.
func stateDir(t testing.TB) string {
	t.Helper()
	top, err := os.MkdirTemp("", "ociruntime")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(top)) })
	dir := filepath.Join(top, "state")
	for _, d := range []string{top, dir} {
		require.NoError(t, os.MkdirAll(d, 0o755))
		require.NoError(t, os.Chmod(d, 0o755)) //nolint:gosec // as a depot is
	}
	return dir
}

// find gives the named runtime; a test of a machine without it is skipped.
func find(t testing.TB, name string) *Runtime {
	t.Helper()
	needRoot(t)
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
	r, err := Find(t.Context(), Options{Path: name, StateDir: stateDir(t), InitBinary: initBinary})
	require.NoError(t, err)
	return r
}

// runtimes are what a test is run with.
func runtimes() []string { return []string{"crun", "runc"} }

var number atomic.Uint32

// container makes a bundle that runs the test's init with the arguments. What is not deleted by the test is deleted at
// its end.
func container(t testing.TB, r *Runtime, args ...string) Run {
	t.Helper()
	n := number.Add(1)
	id := fmt.Sprintf("c%d", n)
	bundle := filepath.Join(filepath.Dir(r.dir), id)
	root := filepath.Join(bundle, "rootfs")
	c := Container{
		ID: id, Root: root, Hostname: "host-" + id, Args: append([]string{"/init"}, args...),
		IDs: idmap.Range{Host: 1_900_000_000 + n*65536, Size: 65536}, CgroupPath: cgroupPath(id),
	}
	for _, dir := range []string{"proc", "sys", "dev"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	require.NoError(t, copyProgram(initBinary, filepath.Join(root, "init")))
	require.NoError(t, os.Chown(root, int(c.IDs.Host), int(c.IDs.Host)))
	spec, err := Spec(c)
	require.NoError(t, err)
	require.NoError(t, r.WriteBundle(bundle, spec))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), wait)
		defer cancel()
		require.NoError(t, r.Delete(ctx, id))
		require.NoError(t, removeCgroups(ctx, c.CgroupPath))
	})
	return Run{ID: id, Bundle: bundle}
}

// said is testdata/init's report.
type said struct {
	Args, Env                          []string
	Dir, Hostname, FromFile            string
	Files, Status, Text, Links, Errors map[string]string
}

// start runs a container that reports, and returns its report and pid.
func start(t *testing.T, r *Runtime, run Run, more ...*os.File) (said, int) {
	t.Helper()
	in, out, err := os.Pipe()
	require.NoError(t, err)
	defer in.Close()
	run.Files = append([]*os.File{out}, more...)
	pid, err := r.Run(t.Context(), run)
	require.NoError(t, err)
	out.Close()
	var s said
	line, err := bufio.NewReader(in).ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, &s))
	return s, pid
}

// ended says whether a process runs no more.
func ended(pid int) bool {
	stat, err := proctree.Read(pid)
	return errors.Is(err, proctree.ErrGone) || stat.State == 'Z'
}

// cgroups are the directories of a cgroup that are there.
func cgroups(t *testing.T, path string) []string {
	t.Helper()
	dirs, err := cgroupDirs(path)
	require.NoError(t, err)
	return slices.DeleteFunc(dirs, func(dir string) bool { return !exists(dir) })
}

// cgroupPath is that of a container of these tests.
func cgroupPath(id string) string { return fmt.Sprintf("/wardend-test%d-%s", os.Getpid(), id) }

func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runtime")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+strings.TrimSpace(body)+"\n"), 0o755)) //nolint:gosec // a program
	return path
}

func mountsOf(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(raw)
}

func nullLog() hclog.Logger { return hclog.NewNullLogger() }

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); !errors.Is(err, unix.ESRCH) {
		require.NoError(t, err)
	}
}
