package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/execwire"
	"github.com/durable-dea/dea/internal/runspec"
)

// rootVariable has this program be a session, which takes a process for itself.
const rootVariable = "SESSION_TEST_ROOT"

// patience bounds what is waited for.
const patience = time.Minute

func TestMain(m *testing.M) {
	if root := os.Getenv(rootVariable); root != "" {
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
		status := Session{Root: root, Name: "n", Stderr: os.Stderr}.Run(ctx)
		stop()
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// begun is a session that waits for what it is to do.
type begun struct {
	process    *exec.Cmd
	connection net.Conn
	*execwire.Writer
}

func beginSession(t *testing.T) *begun {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(runspec.Beneath(root, runspec.PathInstanceApp), 0o755))
	require.NoError(t, os.MkdirAll(runspec.Beneath(root, "/tmp"), 0o755))
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), rootVariable+"="+root)
	process.Stderr = os.Stderr
	require.NoError(t, process.Start())
	b := &begun{process: process}
	t.Cleanup(func() { _ = process.Process.Kill() })
	require.Eventually(t, func() bool {
		dir, err := os.Open(filepath.Join(runspec.Beneath(root, runspec.PathSessions), "n"))
		if err != nil {
			return false
		}
		defer dir.Close()
		// A socket's name is short, and a test's directory is not.
		b.connection, err = net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), runspec.SessionSocket))
		return err == nil
	}, patience, 5*time.Millisecond)
	t.Cleanup(func() { b.connection.Close() })
	b.Writer = execwire.NewWriter(b.connection)
	return b
}

// asked is a session that runs a command line.
func asked(t *testing.T, line string) *begun {
	t.Helper()
	b := beginSession(t)
	require.NoError(t, b.WriteJSON(execwire.Request, execwire.Command{Line: line}))
	return b
}

// isOver waits for the end of the session's process.
func (b *begun) isOver(t *testing.T) {
	t.Helper()
	over := make(chan struct{})
	go func() { defer close(over); _ = b.process.Wait() }()
	select {
	case <-over:
	case <-time.After(patience):
		require.Fail(t, "the session goes on")
	}
}

// rest reads to the end: what was written, and what was said of the end.
func (b *begun) rest(t *testing.T) (string, *execwire.Ended) {
	t.Helper()
	var text bytes.Buffer
	for {
		kind, payload, err := execwire.Read(b.connection)
		if err != nil {
			return text.String(), nil
		}
		switch kind {
		case execwire.Stdout, execwire.Stderr:
			text.Write(payload)
		case execwire.Exit:
			ended := &execwire.Ended{}
			require.NoError(t, json.Unmarshal(payload, ended))
			require.NoError(t, b.connection.Close())
			return text.String(), ended
		}
	}
}

// fill sends as much input as may be under way, which no pipe holds.
func (b *begun) fill(t *testing.T) {
	t.Helper()
	for range execwire.Window / execwire.MaxChunk {
		require.NoError(t, b.Write(execwire.Stdin, bytes.Repeat([]byte("x"), execwire.MaxChunk)))
	}
}

// firstOutput waits until the command says something.
func (b *begun) firstOutput(t *testing.T) {
	t.Helper()
	for {
		kind, _, err := execwire.Read(b.connection)
		require.NoError(t, err)
		if kind == execwire.Stdout {
			return
		}
	}
}

func TestACommandThatReadsNothingEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	b := asked(t, "echo ready; exec sleep 100000")
	b.firstOutput(t)
	b.fill(t)
	require.NoError(t, b.connection.Close())
	b.isOver(t)
}

func TestACommandMayEndBeforeItHasReadItsInput(t *testing.T) {
	t.Parallel()
	b := asked(t, "echo ready; read -r -n 1; exit 7")
	b.firstOutput(t)
	b.fill(t)
	_, ended := b.rest(t)
	require.Equal(t, &execwire.Ended{Status: 7}, ended)
	b.isOver(t)
}

func TestASessionIsStoppedThoughNobodyReadsWhatItsCommandFloods(t *testing.T) {
	t.Parallel()
	b := asked(t, "exec yes")
	b.firstOutput(t)
	require.NoError(t, b.process.Process.Signal(unix.SIGTERM))
	b.isOver(t)
}

func TestRequestsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string][]byte{
		"of another kind": append([]byte{byte(execwire.Stdin)}, 0, 0, 0, 2, '{', '}'),
		"no JSON":         append([]byte{byte(execwire.Request)}, 0, 0, 0, 1, '{'),
		"too large":       binary.BigEndian.AppendUint32([]byte{byte(execwire.Request)}, execwire.MaxFrame+1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := beginSession(t)
			_, err := b.connection.Write(frame)
			require.NoError(t, err)
			_, ended := b.rest(t)
			require.NotNil(t, ended)
			require.Equal(t, failedStatus, ended.Status)
			require.NotEmpty(t, ended.Words)
			b.isOver(t)
		})
	}
}

func TestMoreInputThanMayBeUnderWayEndsTheSession(t *testing.T) {
	t.Parallel()
	b := asked(t, "echo ready; exec sleep 100000")
	b.firstOutput(t)
	for {
		if err := b.Write(execwire.Stdin, make([]byte, execwire.MaxChunk)); err != nil {
			require.NotErrorIs(t, err, execwire.ErrTooLarge)
			break
		}
	}
	b.isOver(t)
}

// TestWhatWasWrittenIsReadHoweverLate: the time for what comes late is not that in which a slow reader takes what is there.
func TestWhatWasWrittenIsReadHoweverLate(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	_, err = write.WriteString("the last words")
	require.NoError(t, err)
	require.NoError(t, write.Close())
	draining := &atomic.Bool{}
	draining.Store(true)
	require.NoError(t, read.SetReadDeadline(time.Now().Add(-time.Hour)))
	text, err := io.ReadAll(drain{read, draining})
	require.NoError(t, err)
	require.Equal(t, "the last words", string(text))
}
