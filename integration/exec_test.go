package integration

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/syncbuffer"
)

// starts is `starter exec` with pipes of its own.
func starts(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd, err := shared.Command(ctx, append([]string{"exec"}, args...)...)
	require.NoError(t, err)
	return cmd
}

// TestExec runs commands in an instance as its user does.
func TestExec(t *testing.T) {
	ctx := t.Context()
	pushExample(t, "procfile", "--no-route")
	app, err := shared.Control.App(ctx, "procfile")
	require.NoError(t, err)
	require.Len(t, app.Instances, 1)
	instance := app.Instances[0]

	t.Run("output, exit status and environment are the command's", func(t *testing.T) {
		out, err := shared.Starter(ctx, "exec", "procfile", "0", "--", "bash", "-c", `echo "$VCAP_APPLICATION"; pwd; echo oops >&2; exit 7`)
		assert.Contains(t, out, instance.InstanceID)
		assert.Contains(t, out, "/home/vcap/app\n")
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 7, exit.ExitCode())
		require.ErrorContains(t, err, "oops")
		out, err = shared.Starter(ctx, "exec", "--instance", instance.InstanceID, "--", "printf", "%s|", "a b", "$HOME", "'")
		require.NoError(t, err)
		assert.Equal(t, "a b|$HOME|'|", out)
	})
	t.Run("pipes change no byte", func(t *testing.T) {
		const size = 100 << 20
		sent, got := sha256.New(), sha256.New()
		cmd := starts(ctx, t, "procfile", "0", "--", "cat")
		cmd.Stdin = io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sent)
		cmd.Stdout = got
		begun := time.Now()
		require.NoError(t, cmd.Run())
		t.Logf("%d MB both ways in %s", size>>20, time.Since(begun).Round(time.Millisecond))
		assert.Equal(t, hex.EncodeToString(sent.Sum(nil)), hex.EncodeToString(got.Sum(nil)))
	})
	t.Run("a command that reads nothing ends all the same", func(t *testing.T) {
		cmd := starts(ctx, t, "procfile", "0", "--", "true")
		cmd.Stdin = neverEnding{}
		require.NoError(t, cmd.Run())
	})
	t.Run("a terminal is one", func(t *testing.T) { hasATerminal(ctx, t) })
	t.Run("nothing stays when the caller goes", func(t *testing.T) { leavesNothing(ctx, t) })
	t.Run("who is not let in learns why", func(t *testing.T) { isRefused(ctx, t) })
	t.Run("wrong usage", func(t *testing.T) {
		for _, test := range []struct {
			code  int
			args  []string
			words string
		}{
			{2, []string{"procfile"}, "NAME INDEX"},
			{2, []string{"procfile", "0", "ls"}, "NAME INDEX"},
			{2, []string{"procfile", "0", "--output", "json", "--", "ls"}, "leave --output json out"},
			{3, []string{"procfile", "9", "--", "ls"}, "no instance 9"},
			{127, []string{"procfile", "0", "--", "no-such-command"}, "no-such-command"},
		} {
			_, err := shared.Starter(ctx, append([]string{"exec"}, test.args...)...)
			require.ErrorContains(t, err, test.words)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, test.code, exit.ExitCode(), test.args)
		}
	})
}

// neverEnding is input without an end.
type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// hasATerminal speaks with a shell by a terminal of its own.
func hasATerminal(ctx context.Context, t *testing.T) {
	t.Helper()
	cmd := starts(ctx, t, "procfile", "0")
	ours, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 99})
	require.NoError(t, err)
	defer ours.Close()
	said := &syncbuffer.Buffer{}
	ended := make(chan struct{})
	go func() { defer close(ended); _, _ = io.Copy(said, ours) }()
	sees := func(text string) {
		t.Helper()
		eventually(t, later, func() error {
			if !strings.Contains(said.String(), text) {
				return fmt.Errorf("%q is not in %q", text, said.String())
			}
			return nil
		})
	}
	write := func(text string) {
		_, err := ours.WriteString(text)
		require.NoError(t, err)
	}
	write("echo size=$(stty size) term=$TERM tty=$(tty)\n")
	sees("size=33 99")
	sees("tty=/dev/pts/")
	require.NoError(t, pty.Setsize(ours, &pty.Winsize{Rows: 44, Cols: 88}))
	eventually(t, later, func() error {
		write("echo now=$(stty size)\n")
		if !strings.Contains(said.String(), "now=44 88") {
			return errors.New("the size has not arrived")
		}
		return nil
	})
	write("echo begun=$((1+1)); sleep 1000\n")
	sees("begun=2")
	write("\x03")                       // an interrupt is the sleep's
	eventually(t, later, func() error { // it takes with it what is typed at that moment
		write("echo still=here-$((1+1))\n")
		if !strings.Contains(said.String(), "still=here-2") {
			return errors.New("the shell does not answer")
		}
		return nil
	})
	write("exit 5\n")
	<-ended
	isHandedBack(t, ours)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, 5, exit.ExitCode())
}

// isHandedBack expects a terminal that echoes lines again.
func isHandedBack(t *testing.T, terminal *os.File) {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	require.NoError(t, err)
	require.Equal(t, uint32(unix.ECHO|unix.ICANON|unix.ISIG), settings.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG))
}

// leavesNothing kills who runs a command, and expects the command, and what it began, to end.
func leavesNothing(ctx context.Context, t *testing.T) {
	t.Helper()
	first, second := fmt.Sprintf("98765.%d", rand.Uint64()), fmt.Sprintf("98764.%d", rand.Uint64())
	cmd := starts(ctx, t, "procfile", "0", "--", "bash", "-c", fmt.Sprintf(`trap "" HUP; setsid sleep %s & sleep %s; true`, second, first))
	require.NoError(t, cmd.Start())
	for _, sleeper := range []string{first, second} {
		eventually(t, later, func() error {
			if len(processes("sleep\x00"+sleeper)) == 0 {
				return errors.New("it has not begun")
			}
			return nil
		})
	}
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for _, sleeper := range []string{first, second} {
		eventually(t, later, func() error {
			if left := processes(sleeper); len(left) > 0 {
				return fmt.Errorf("still there: %q", left)
			}
			return nil
		})
	}
}

// processes are the command lines that hold a text, of this machine's.
func processes(text string) []string {
	var all []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), text) {
			all = append(all, string(line))
		}
	}
	return all
}

// isRefused comes with a key of his own, which is let in, and then no more.
func isRefused(ctx context.Context, t *testing.T) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	identity := filepath.Join(t.TempDir(), "id")
	require.NoError(t, os.WriteFile(identity, pem.EncodeToMemory(block), 0o600))
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	file := filepath.Join(shared.Data, "exec_authorized_keys")
	others, err := os.ReadFile(file)
	require.NoError(t, err)
	grants := func(options string) {
		t.Helper()
		line := append([]byte(options), ssh.MarshalAuthorizedKey(key)...)
		require.NoError(t, os.WriteFile(file, append(slices.Clone(others), line...), 0o600))
	}
	defer func() { require.NoError(t, os.WriteFile(file, others, 0o600)) }()
	run := func(want string, options ...string) {
		t.Helper()
		out, err := shared.Starter(ctx, append(append([]string{"exec", "procfile", "0", "--identity", identity}, options...), "--", "echo", "let", "in")...)
		if want == "" {
			require.NoError(t, err)
			require.Equal(t, "let in\n", strings.ReplaceAll(out, "\r", ""))
			return
		}
		require.ErrorContains(t, err, want)
	}
	run("key " + ssh.FingerprintSHA256(key) + " is not let in")
	grants(`apps="others,procfile-2" `)
	run("is not let into app procfile")
	grants(`apps="others,procfile" `)
	run("")
	run("", "--tty")
	grants(`no-pty `)
	run("")
	run("gives this key no terminal", "--tty")
	grants(`expiry-time="20200101" `)
	run("is not let in")
	grants(`command="true" `)
	run("is not let in")
	require.NoError(t, os.WriteFile(file, others, 0o600))
	run("is not let in")
}
