package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/execwire"
	"github.com/durable-dea/dea/internal/runspec"
)

// attended is a session that runs, with the test in the place of the node's worker.
type attended struct {
	t          *testing.T
	command    *exec.Cmd
	stderr     bytes.Buffer
	connection net.Conn
	*execwire.Writer

	mu   sync.Mutex
	said bytes.Buffer
	// heard is closed when the connection has ended; ended is what the session said of the end, if it did.
	heard chan struct{}
	ended *execwire.Ended
}

// attend begins a session by a runner, and asks it for a command.
func (c *container) attend(runner string, command execwire.Command) *attended {
	c.t.Helper()
	a := &attended{t: c.t, command: c.command(nil, "session", "--name", "n"), heard: make(chan struct{})}
	a.command.Path, a.command.Stderr = runner, &a.stderr
	require.NoError(c.t, a.command.Start())
	c.t.Cleanup(func() { _ = a.command.Process.Kill() })
	// A socket's name is short, and a test's directory is not.
	dir := c.path(runspec.PathSessions + "/n")
	require.Eventually(c.t, func() bool {
		in, err := os.Open(dir)
		if err != nil {
			return false
		}
		defer in.Close()
		a.connection, err = net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/%s", in.Fd(), runspec.SessionSocket))
		return err == nil
	}, patience, 5*time.Millisecond)
	c.t.Cleanup(func() { a.connection.Close() })
	a.Writer = execwire.NewWriter(a.connection)
	require.NoError(c.t, a.WriteJSON(execwire.Request, command))
	go a.listen()
	return a
}

// attendLine is attend with the runner that is tested.
func (c *container) attendLine(line string) *attended {
	c.t.Helper()
	return c.attend(filepath.Join(programs, "dea-runner"), execwire.Command{Line: line})
}

func (a *attended) listen() {
	defer close(a.heard)
	for {
		kind, payload, err := execwire.Read(a.connection)
		if err != nil {
			return
		}
		a.mu.Lock()
		switch kind {
		case execwire.Stdout, execwire.Stderr:
			a.said.Write(payload)
		case execwire.Exit:
			a.ended = &execwire.Ended{}
			_ = json.Unmarshal(payload, a.ended)
			a.mu.Unlock()
			a.connection.Close() // as the worker does
			return
		}
		a.mu.Unlock()
	}
}

func (a *attended) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.said.String()
}

// sees waits until the command has written a text.
func (a *attended) sees(text string) {
	a.t.Helper()
	require.Eventually(a.t, func() bool { return strings.Contains(a.text(), text) }, patience, 5*time.Millisecond, "%q is not there", text)
}

// outcome waits for the session's own end, and for what it said of the command's.
func (a *attended) outcome() execwire.Ended {
	a.t.Helper()
	a.isOver()
	<-a.heard
	require.NotNil(a.t, a.ended, a.stderr.String())
	return *a.ended
}

// isOver waits for the session's own end.
func (a *attended) isOver() {
	a.t.Helper()
	ended := make(chan struct{})
	go func() { defer close(ended); _ = a.command.Wait() }()
	select {
	case <-ended:
	case <-time.After(patience):
		require.Fail(a.t, "the session goes on", a.text())
	}
}

// sleeper is a command line that lasts, which no other process has.
func sleeper(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("sleep 98766.%d", rand.Uint64())
}

// isGone expects no process with a command line.
func isGone(t *testing.T, line string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		text, _ := os.ReadFile(file) // one that has ended is gone
		assert.NotEqual(t, line, strings.TrimSuffix(strings.ReplaceAll(string(text), "\x00", " "), " "), file)
	}
}

func TestSessionHasTheAppsEnvironment(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	require.NoError(t, os.MkdirAll(c.path(runspec.PathLogs), 0o755))
	c.write(runspec.PathInstanceApp+"/file", "", 0o644)
	c.write(runspec.PathInstanceInfo, "start_command: sleep 1000\n", 0o644)
	c.write(runspec.PathInstanceProfile+"/a.sh", "export FROM_PROFILE=p", 0o644)
	c.write(runspec.PathInstanceApp+"/.profile.d/b.sh", "export FROM_APP=a", 0o644)
	launch := c.command([]string{"VCAP_APPLICATION={}", "ODD=two\nlines"}, "launch")
	require.NoError(t, launch.Start())
	t.Cleanup(func() { _ = launch.Process.Kill(); _ = launch.Wait() })
	c.write(runspec.PathLaunched, fmt.Sprintln(launch.Process.Pid), 0o644)
	require.Eventually(t, func() bool { // until then it is this program still
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", launch.Process.Pid))
		return exe == filepath.Join(programs, "dea-runner")
	}, patience, time.Millisecond)
	const line = `echo "$VCAP_APPLICATION $ODD $FROM_PROFILE $FROM_APP ${TERM-none}"; umask; ls; exit 9`
	a := c.attendLine(line)
	require.Equal(t, execwire.Ended{Status: 9}, a.outcome())
	require.Equal(t, "{} two\nlines p a dumb\n0077\nfile\n", a.text())
	require.NoDirExists(t, c.path(runspec.PathSessions+"/n"))

	t.Run("and that of an app which an older runner launched", func(t *testing.T) {
		newer := filepath.Join(t.TempDir(), "dea-runner")
		content, err := os.ReadFile(filepath.Join(programs, "dea-runner"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(newer, content, 0o755))
		a := c.attend(newer, execwire.Command{Line: line})
		require.Equal(t, execwire.Ended{Status: 9}, a.outcome())
		require.True(t, strings.HasPrefix(a.text(), "{} two\nlines"), a.text())
	})
	t.Run("and not that of another process", func(t *testing.T) {
		c.write(runspec.PathLaunched, fmt.Sprintln(os.Getpid()), 0o644)
		a := c.attendLine(`echo "${GOROOT-}${GOPATH-}$VCAP_APPLICATION:$PATH"`)
		require.Equal(t, execwire.Ended{}, a.outcome())
		require.Equal(t, ":/bin:/usr/bin\n", a.text())
	})
}

func TestSessionLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	closes := func(a *attended) error { return a.connection.Close() }
	for name, test := range map[string]struct {
		// line begins with the sleeper in the place of %[1]s; end is what ends the session.
		line string
		end  func(*attended) error
		want *execwire.Ended
	}{
		"when the connection ends": {
			line: "echo ready; exec %[1]s", end: closes,
		},
		"when what it began does not hang up, and is in a session of its own": {
			line: `trap "" HUP; setsid %[1]s & echo ready; wait`, end: closes,
		},
		"when what it began is stopped": {
			line: `%[1]s & kill -STOP $!; echo ready; wait`, end: closes,
		},
		"when the command ends before what it began": {
			line: `setsid %[1]s & echo ready; exit 4`, end: func(*attended) error { return nil }, want: &execwire.Ended{Status: 4},
		},
		"when the container is stopped": {
			line: "echo ready; exec %[1]s",
			end:  func(a *attended) error { return a.command.Process.Signal(syscall.SIGTERM) },
			want: &execwire.Ended{Status: 129, Words: "the instance is being stopped"},
		},
		"when the command is told to end": {
			line: "echo ready; exec %[1]s",
			end:  func(a *attended) error { return a.Write(execwire.Signal, []byte("TERM")) },
			want: &execwire.Ended{Status: 143},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t)
			require.NoError(t, os.MkdirAll(c.path(runspec.PathInstanceApp), 0o755))
			lasting := sleeper(t)
			a := c.attendLine(fmt.Sprintf(test.line, lasting))
			a.sees("ready")
			require.NoError(t, test.end(a))
			if test.want != nil {
				require.Equal(t, *test.want, a.outcome())
			}
			a.isOver()
			isGone(t, lasting)
			require.NoDirExists(t, c.path(runspec.PathSessions+"/n"))
		})
	}
}

// TestSessionOfAContainerThatStops: all processes of it are told to end at once, and the command's end may be seen first.
func TestSessionOfAContainerThatStops(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	require.NoError(t, os.MkdirAll(c.path(runspec.PathInstanceApp), 0o755))
	a := c.attendLine("echo ready; exec sleep 98766")
	a.sees("ready")
	for _, step := range []func() error{
		func() error { return a.command.Process.Signal(syscall.SIGSTOP) },
		func() error { return a.Write(execwire.Signal, []byte("TERM")) },
		func() error { return a.command.Process.Signal(syscall.SIGTERM) },
		func() error { return a.command.Process.Signal(syscall.SIGCONT) },
	} {
		require.NoError(t, step())
	}
	require.Equal(t, "the instance is being stopped", a.outcome().Words)
}

func TestSessionWithATerminal(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	require.NoError(t, os.MkdirAll(c.path(runspec.PathInstanceApp), 0o755))
	a := c.attend(filepath.Join(programs, "dea-runner"), execwire.Command{
		Terminal: &execwire.Terminal{Name: "odd", Size: execwire.Size{Rows: 12, Cols: 34}},
	})
	types := func(text string) { require.NoError(t, a.Write(execwire.Stdin, []byte(text))) }
	types("echo at-$(stty size)-$TERM\n")
	a.sees("at-12 34-odd")
	require.NoError(t, a.WriteJSON(execwire.Resize, execwire.Size{Rows: 56, Cols: 78}))
	require.NoError(t, a.WriteJSON(execwire.Resize, execwire.Size{})) // of no use
	types("echo now-$(stty size)\n")
	a.sees("now-56 78")
	// A signal is the foreground's, and the shell lives on.
	types("bash -c 'trap \"exit 3\" INT; echo up-$((1+1)); while :; do sleep 0.01; done'; echo then-$?\n")
	a.sees("up-2")
	require.NoError(t, a.Write(execwire.Signal, []byte("INT")))
	require.NoError(t, a.Write(execwire.Signal, []byte("NONSENSE")))
	a.sees("then-3")
	require.NoError(t, a.Write(execwire.StdinEnd, nil)) // a shell ends at the end of its input
	require.Equal(t, execwire.Ended{}, a.outcome())
}

func TestSessionThatCannotBegin(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	a := c.attendLine("true") // there is no directory of the app's
	ended := a.outcome()
	require.Equal(t, 126, ended.Status)
	require.Contains(t, ended.Words, "the command cannot be started")
}
