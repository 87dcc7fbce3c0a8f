package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// TestExecEnds runs commands whose end comes from elsewhere.
func TestExecEnds(t *testing.T) {
	ctx := t.Context()
	pushExample(t, "procfile", "--no-route")
	app, err := shared.Control.App(ctx, "procfile")
	require.NoError(t, err)
	require.Len(t, app.Instances, 1)
	instance := app.Instances[0]

	t.Run("an interrupted caller hands its terminal back", func(t *testing.T) {
		cmd, ended := lasting(ctx, t)
		ours, err := pty.Start(cmd)
		require.NoError(t, err)
		defer ours.Close()
		ended.begins(t)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait()
		assert.Equal(t, 130, cmd.ProcessState.ExitCode())
		isHandedBack(t, ours)
		ended.ends(t)
	})
	t.Run("a caller whose output nobody reads hands its terminal back", func(t *testing.T) {
		cmd := starts(ctx, t, "procfile", "0", "--tty", "--", "yes")
		ours, theirs, err := pty.Open()
		require.NoError(t, err)
		defer ours.Close()
		defer theirs.Close()
		cmd.Stdin = theirs
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		var said bytes.Buffer
		cmd.Stderr = &said
		require.NoError(t, cmd.Start())
		_, err = io.ReadFull(out, make([]byte, 1<<16))
		require.NoError(t, err)
		require.NoError(t, out.Close())
		require.Error(t, cmd.Wait())
		assert.Equal(t, 1, cmd.ProcessState.ExitCode(), said.String())
		assert.Contains(t, said.String(), "cannot be written here")
		isHandedBack(t, ours)
	})
	t.Run("a worker that is killed takes its sessions with it", func(t *testing.T) {
		cmd, ended := lasting(ctx, t)
		var said bytes.Buffer
		cmd.Stderr = &said
		require.NoError(t, cmd.Start())
		ended.begins(t)
		number := nodeNumber(t, instance.Node)
		before := killWorker(t, number)
		_ = cmd.Wait()
		assert.Equal(t, 255, cmd.ProcessState.ExitCode(), said.String())
		assert.Contains(t, said.String(), "cut off")
		ended.ends(t)
		eventually(t, later, func() error { return replaced(number, before) })
		eventually(t, later, func() error { // until the node says where its new worker is
			_, err := shared.Starter(ctx, "exec", "procfile", "0", "--", "true")
			return err
		})
	})
	t.Run("ssh does as well", func(t *testing.T) { sshDoes(ctx, t, instance) })
	t.Run("an instance that is stopped ends its sessions", func(t *testing.T) {
		cmd, ended := lasting(ctx, t)
		var said bytes.Buffer
		cmd.Stderr = &said
		require.NoError(t, cmd.Start())
		ended.begins(t)
		_, err := shared.Starter(ctx, "stop", "procfile")
		require.NoError(t, err)
		require.Error(t, cmd.Wait())
		assert.Regexp(t, "the instance (is being stopped|has ended)", said.String())
		ended.ends(t)
	})
}

// sleeper is the end of the command line of a process that sleeps, which no other has.
type sleeper string

// lasting is `starter exec` with a command that lasts.
func lasting(ctx context.Context, t *testing.T) (*exec.Cmd, sleeper) {
	t.Helper()
	duration := fmt.Sprintf("98763.%d", rand.Uint64())
	return starts(ctx, t, "procfile", "0", "--", "bash", "-c", "sleep "+duration+"; true"), sleeper("sleep\x00" + duration)
}

func (s sleeper) begins(t *testing.T) {
	t.Helper()
	eventually(t, later, func() error {
		if len(processes(string(s))) == 0 {
			return errors.New("it has not begun")
		}
		return nil
	})
}

func (s sleeper) ends(t *testing.T) {
	t.Helper()
	eventually(t, later, func() error {
		if left := processes(string(s)); len(left) > 0 {
			return fmt.Errorf("still there: %q", left)
		}
		return nil
	})
}

// sshDoes speaks with the node by OpenSSH's client, which knows the node's key beforehand.
func sshDoes(ctx context.Context, t *testing.T, instance api.InstanceStatus) {
	t.Helper()
	client, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("there is no ssh")
	}
	node, err := shared.Control.Node(ctx, instance.Node)
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(node.Exec.Address)
	require.NoError(t, err)
	known := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(known, fmt.Appendf(nil, "[%s]:%s %s\n", host, port, node.Exec.HostKey), 0o600))
	run := func(stdin string, args ...string) (string, error) {
		options := []string{
			"-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
			"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + known,
			"-i", filepath.Join(shared.Data, "exec_identity"), "-p", port, "-l", instance.InstanceID,
		}
		cmd := exec.CommandContext(ctx, client, slices.Concat(options, args)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run("some\x00input", host, "cat; echo; pwd; exit 4")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, out)
	assert.Equal(t, 4, exit.ExitCode())
	assert.Regexp(t, "^some\x00input\n/.*home/vcap/app\n$", out)
	out, err = run("", "-tt", host, "tty")
	require.NoError(t, err, out)
	assert.Contains(t, out, "/dev/pts/")
	out, err = run("echo a shell reads $((1+1))\n", "-T", host)
	require.NoError(t, err, out)
	assert.Equal(t, "a shell reads 2\n", out)
}
