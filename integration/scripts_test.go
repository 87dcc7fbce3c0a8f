package integration

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/integration/internal/stack"
)

// scriptTimeout is how long a script may take that starts a stack, pushes an app and ends it all.
const scriptTimeout = 4 * time.Minute

// script is a script of scripts/ that runs in a process group of its own, as `make` at a terminal would run it.
type script struct {
	command *exec.Cmd

	mu   sync.Mutex
	said bytes.Buffer
}

func startScript(t *testing.T, name string, args ...string) *script {
	t.Helper()
	root, err := stack.Root()
	require.NoError(t, err)
	_, err = stack.Bin("starter")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), scriptTimeout)
	t.Cleanup(cancel)
	s := &script{command: exec.CommandContext(ctx, filepath.Join(root, "scripts", name), args...)}
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	// A script that takes too long is told to end first: it then stops what it started.
	s.command.Cancel = func() error { return s.command.Process.Signal(syscall.SIGTERM) }
	s.command.WaitDelay = time.Minute
	s.command.Stdout, s.command.Stderr = s, s
	require.NoError(t, s.command.Start())
	return s
}

// Write keeps what the script says.
func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(p)
}

func (s *script) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

// TestTopology runs the topology of docker-compose.yml as processes: a Temporal apart, a wardend, a worker, a starter.
func TestTopology(t *testing.T) {
	s := startScript(t, "topology.sh")
	require.NoError(t, s.command.Wait(), s.output())
	assert.Contains(t, s.output(), "topology: ok")
	assert.Contains(t, s.output(), "answer: ")
}

// TestDemoCheck is `make demo-check`: it ends by itself, and nothing is left running.
func TestDemoCheck(t *testing.T) {
	s := startScript(t, "demo.sh", "--check")
	require.NoError(t, s.command.Wait(), s.output())
	assert.Contains(t, s.output(), "Nothing is left running.")
	assert.Contains(t, s.output(), "Temporal UI: http://")
	assert.Regexp(t, `http://hello\.localhost:\d+ +\S*Hello from instance [01] of hello`, s.output())
}

// TestDemoUntilInterrupted is `make demo`: it stays up until Ctrl-C, which the terminal sends to the script alone since
// the stack is a job of its own, and then ends well with nothing left.
func TestDemoUntilInterrupted(t *testing.T) {
	s := startScript(t, "demo.sh", "examples/static") // its build is the shorter one
	eventually(t, scriptTimeout, func() error {
		if !strings.Contains(s.output(), "until Ctrl-C") {
			return fmt.Errorf("the demo is not up:\n%s", s.output())
		}
		return nil
	})
	require.NoError(t, syscall.Kill(-s.command.Process.Pid, syscall.SIGINT))
	require.NoError(t, s.command.Wait(), s.output())
	assert.Contains(t, s.output(), "Nothing is left running.")
}
