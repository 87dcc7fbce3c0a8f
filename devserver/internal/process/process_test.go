package process_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/devserver/internal/process"
)

// TestMain lets the test binary be a parent that dies: see TestChildrenDieWithTheirParent.
func TestMain(m *testing.M) {
	if log := os.Getenv("PROCESS_TEST_PARENT"); log != "" {
		parent(log)
	}
	goleak.VerifyTestMain(m)
}

// parent starts a child that never ends, says its pid and waits to be killed.
func parent(log string) {
	child, err := process.NewSpawner().Start(process.Spec{Name: "child", Path: "/bin/sleep", Args: []string{"1000"}, Log: log})
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(log+".pid", []byte(strconv.Itoa(child.PID())+"\n"), 0o600); err != nil {
		panic(err)
	}
	select {}
}

func gone(pid int) bool { return syscall.Kill(pid, 0) != nil }

func shell(log, script string) process.Spec {
	return process.Spec{Name: "script", Path: "/bin/sh", Args: []string{"-c", script}, Log: log}
}

func TestChildrenDieWithTheirParent(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	dying := exec.Command(os.Args[0])
	dying.Env = append(os.Environ(), "PROCESS_TEST_PARENT="+log)
	require.NoError(t, dying.Start())
	var pid int
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(log + ".pid")
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid != 0
	}, 10*time.Second, 10*time.Millisecond)
	require.False(t, gone(pid))
	require.NoError(t, dying.Process.Kill())
	_ = dying.Wait()
	require.Eventually(t, func() bool { return gone(pid) }, 10*time.Second, 10*time.Millisecond)
}

func TestKilledChildIsToldOfAndStartsAgain(t *testing.T) {
	spawner := process.NewSpawner()
	defer spawner.Close()
	exits := make(chan process.Exit, 1)
	spec := shell(filepath.Join(t.TempDir(), "log"), "echo here I am; exec sleep 1000")
	spec.Restart, spec.OnExit = true, func(e process.Exit) { exits <- e }
	child, err := spawner.Start(spec)
	require.NoError(t, err)
	first := child.PID()
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(spec.Log)
		return len(text) > 0
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))

	exit := <-exits
	require.Equal(t, "signal: killed", exit.How)
	require.Equal(t, []string{"here I am"}, exit.Lines)
	require.Equal(t, time.Second, exit.Restart)
	require.Eventually(t, func() bool { return child.PID() != 0 && child.PID() != first }, 10*time.Second, 10*time.Millisecond)
	second := child.PID()
	child.Stop(t.Context())
	require.True(t, gone(second))
	require.Empty(t, exits)
}

func TestWithoutRestartADeathIsOnlyToldOf(t *testing.T) {
	spawner := process.NewSpawner()
	defer spawner.Close()
	exits := make(chan process.Exit, 1)
	spec := shell(filepath.Join(t.TempDir(), "log"), "exit 3")
	spec.OnExit = func(e process.Exit) { exits <- e }
	child, err := spawner.Start(spec)
	require.NoError(t, err)
	exit := <-exits
	require.Equal(t, "exit status 3", exit.How)
	require.Zero(t, exit.Restart)
	require.Zero(t, child.PID())
	child.Stop(t.Context())
	child.Stop(t.Context())
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	spawner := process.NewSpawner()
	defer spawner.Close()
	log := filepath.Join(t.TempDir(), "log")
	child, err := spawner.Start(shell(log, "trap '' TERM; echo deaf; while :; do sleep 0.05; done"))
	require.NoError(t, err)
	pid := child.PID()
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(log)
		return len(text) > 0
	}, 10*time.Second, 10*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	child.Stop(ctx)
	require.Error(t, ctx.Err())
	require.True(t, gone(pid))
}

func TestProgramThatIsNotThereIsAnError(t *testing.T) {
	spawner := process.NewSpawner()
	defer spawner.Close()
	_, err := spawner.Start(process.Spec{Name: "nobody", Path: "/no/such/program", Log: filepath.Join(t.TempDir(), "log")})
	require.ErrorContains(t, err, "start nobody")
}

func TestFollowPrefixesWholeLines(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(log, []byte("of an earlier life\n"), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	lines := make(lineWriter, 10)
	done := make(chan error, 1)
	go func() { done <- process.Follow(ctx, log, "node 1 | ", lines) }()
	file, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	// Until the first line shows, Follow may not have looked at the size yet.
	require.Eventually(t, func() bool {
		_, err := file.WriteString("again\n")
		return err == nil && len(lines) > 0
	}, 10*time.Second, 50*time.Millisecond)
	require.Equal(t, "node 1 | again\n", <-lines)
	cancel()
	require.NoError(t, <-done)
}

type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	select {
	case w <- string(p):
	default:
	}
	return len(p), nil
}
