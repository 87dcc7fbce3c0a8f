package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/sandbox"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/cli"
	"github.com/durable-dea/dea/wardend/internal/conformance"
)

// asWardend in the environment makes the test's program wardend. An init has no such variable, but its argument.
const asWardend = "WARDEND_TEST_AS_WARDEND"

func TestMain(m *testing.M) {
	if os.Getenv(asWardend) != "" || len(os.Args) >= 2 && os.Args[1] == cli.InitCommand {
		main()
		return
	}
	if code, done := sandbox.Enter(); done {
		os.Exit(code)
	}
	code := m.Run()
	if madeDir != "" {
		_ = os.RemoveAll(madeDir)
	}
	os.Exit(code)
}

// wardend is a server as a process of its own.
type wardend struct {
	t testing.TB
	// program is wardend's path; the test's own, which is wardend too, when empty.
	program string
	backend string
	dir     string
	flags   []string
	cmd     *exec.Cmd
	ended   chan struct{}
}

func startWardend(t testing.TB, flags ...string) conformance.Server {
	t.Helper()
	return (&wardend{t: t, backend: "process"}).start(flags...)
}

// start starts a server with a depot of its own, which is ended with all of its containers after the test.
func (w *wardend) start(flags ...string) *wardend {
	t := w.t
	t.Helper()
	// Short, for the socket's path.
	dir, err := os.MkdirTemp("", "wardend")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755), "containers' users pass through") //nolint:gosec // as it says
	w.dir = dir
	w.flags = append([]string{
		"--socket", w.Socket(), "--depot", w.depot(), "--backend", w.backend, "--log-level", "debug",
	}, flags...)
	w.Start()
	t.Cleanup(w.remove)
	return w
}

func (w *wardend) Socket() string { return filepath.Join(w.dir, "s") }

func (w *wardend) depot() string { return filepath.Join(w.dir, "depot") }

func (w *wardend) command(args ...string) *exec.Cmd {
	program := w.program
	if program == "" {
		self, err := os.Executable()
		require.NoError(w.t, err)
		program = self
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), asWardend+"=1")
	log, err := os.OpenFile(filepath.Join(w.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = log.Close() })
	cmd.Stdout, cmd.Stderr = log, log
	return cmd
}

func (w *wardend) Start() {
	w.t.Helper()
	w.cmd = w.command(w.flags...)
	require.NoError(w.t, w.cmd.Start())
	ended := make(chan struct{})
	w.ended = ended
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait()
		close(ended)
	}(w.cmd)
	c := warden.NewClient(w.Socket())
	defer func() { _ = c.Close() }()
	require.Eventually(w.t, func() bool {
		select {
		case <-ended:
			require.Fail(w.t, "wardend has ended", "%s", w.log())
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.Ping(ctx, &wardenpb.PingRequest{})
		return err == nil
	}, 30*time.Second, 5*time.Millisecond, "wardend does not answer")
}

func (w *wardend) Signal(signal syscall.Signal) { require.NoError(w.t, w.cmd.Process.Signal(signal)) }

func (w *wardend) WaitEnd() {
	w.t.Helper()
	select {
	case <-w.ended:
	case <-time.After(time.Minute):
		require.Fail(w.t, "wardend does not end", "%s", w.log())
	}
}

func (w *wardend) End(signal syscall.Signal) {
	w.t.Helper()
	w.Signal(signal)
	w.WaitEnd()
}

func (w *wardend) log() string {
	raw, _ := os.ReadFile(filepath.Join(w.dir, "log"))
	return string(raw)
}

func (w *wardend) remove() {
	select {
	case <-w.ended:
	default:
		w.End(syscall.SIGTERM)
	}
	require.NoError(w.t, w.command("destroy-all", "--depot", w.depot(), "--backend", w.backend).Run(), "%s", w.log())
	left, err := os.ReadDir(filepath.Join(w.depot(), "containers"))
	require.NoError(w.t, err)
	require.Empty(w.t, left, "destroy-all leaves nothing")
	if w.t.Failed() {
		w.t.Logf("wardend's log:\n%s", w.log())
	}
	require.NoError(w.t, os.RemoveAll(w.dir))
}

// TestConformance puts the process backend under the protocol's tests.
func TestConformance(t *testing.T) {
	program, err := tool()
	require.NoError(t, err)
	conformance.Suite{Start: startWardend, Tool: program}.Run(t)
}

func benchContainer(b *testing.B) (context.Context, *warden.Client, string) {
	b.Helper()
	ctx := context.Background()
	c := warden.NewClient(startWardend(b).Socket())
	b.Cleanup(func() { _ = c.Close() })
	res, err := c.Create(ctx, &wardenpb.CreateRequest{})
	require.NoError(b, err)
	return ctx, c, res.GetHandle()
}

// BenchmarkPing is the least that a request costs.
func BenchmarkPing(b *testing.B) {
	ctx, c, _ := benchContainer(b)
	for b.Loop() {
		_, err := c.Ping(ctx, &wardenpb.PingRequest{})
		require.NoError(b, err)
	}
}

// BenchmarkRunTrue is a job with nothing to do: mostly bash itself, see BenchmarkBashFloor.
func BenchmarkRunTrue(b *testing.B) {
	ctx, c, h := benchContainer(b)
	script := "true"
	for b.Loop() {
		_, err := c.Run(ctx, &wardenpb.RunRequest{Handle: &h, Script: &script})
		require.NoError(b, err)
	}
}

// BenchmarkBashFloor is a bash with nothing to do, started by nobody in particular.
func BenchmarkBashFloor(b *testing.B) {
	for b.Loop() {
		cmd := exec.Command("/bin/bash")
		cmd.Stdin = strings.NewReader("true")
		require.NoError(b, cmd.Run())
	}
}

// BenchmarkInfo reads a container's statistics.
func BenchmarkInfo(b *testing.B) {
	ctx, c, h := benchContainer(b)
	for b.Loop() {
		_, err := c.Info(ctx, &wardenpb.InfoRequest{Handle: &h})
		require.NoError(b, err)
	}
}

// BenchmarkCreateDestroy is a container's life without a job.
func BenchmarkCreateDestroy(b *testing.B) {
	ctx, c, _ := benchContainer(b)
	for b.Loop() {
		res, err := c.Create(ctx, &wardenpb.CreateRequest{})
		require.NoError(b, err)
		_, err = c.Destroy(ctx, &wardenpb.DestroyRequest{Handle: res.Handle})
		require.NoError(b, err)
	}
}
