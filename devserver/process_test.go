package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/devserver/internal/stack"
	"github.com/durable-dea/dea/internal/syncbuffer"
)

// asDevserver makes the test's own binary be the devserver.
const asDevserver = "DEVSERVER_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(asDevserver) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// devserver is a devserver as a process.
type devserver struct {
	command        *exec.Cmd
	stdout, stderr syncbuffer.Buffer
	ended          chan struct{}
}

// launch starts a devserver without nodes.
func launch(t *testing.T, args ...string) *devserver {
	t.Helper()
	return launchWith(t, func(*exec.Cmd) {}, args...)
}

// launchWith is launch with something changed in the command.
func launchWith(t *testing.T, change func(*exec.Cmd), args ...string) *devserver {
	t.Helper()
	d := &devserver{ended: make(chan struct{})}
	d.command = exec.Command(os.Args[0], append([]string{"--nodes", "0", "--output", "json"}, args...)...)
	d.command.Env = append(os.Environ(), asDevserver+"=1")
	d.command.Stdout, d.command.Stderr = &d.stdout, &d.stderr
	change(d.command)
	require.NoError(t, d.command.Start())
	go func() {
		_ = d.command.Wait() // its status is asked for by exit
		close(d.ended)
	}()
	t.Cleanup(func() {
		_ = d.command.Process.Kill()
		<-d.ended
	})
	return d
}

// ready waits for the addresses.
func (d *devserver) ready(t *testing.T) stack.Addresses {
	t.Helper()
	require.Eventually(t, func() bool { return d.hasEnded() || strings.Contains(d.stdout.String(), "\n") },
		time.Minute, 20*time.Millisecond, "no addresses: %s", &d.stderr)
	require.False(t, d.hasEnded(), "it ended: %s", &d.stderr)
	var addresses stack.Addresses
	require.NoError(t, json.Unmarshal([]byte(d.stdout.String()), &addresses))
	return addresses
}

func (d *devserver) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// exit waits for the end and gives the exit status.
func (d *devserver) exit(t *testing.T) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-d.ended:
	case <-ctx.Done():
		require.Fail(t, "the devserver does not end", "%s", &d.stderr)
	}
	return d.command.ProcessState.ExitCode()
}

// interrupt sends a signal and waits for a good end.
func (d *devserver) interrupt(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, d.command.Process.Signal(signal))
	require.Zero(t, d.exit(t), "%s", &d.stderr)
}
