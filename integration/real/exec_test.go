package real

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/integration/internal/stack"
)

// session runs commands in an instance: as its user, with its processes and files and no others.
func session(t *testing.T, s *stack.Stack) {
	t.Helper()
	ctx := t.Context()
	out, err := s.Starter(ctx, "exec", "site", "0", "--", "bash", "-c",
		`id -un; pwd; test -e /.wardend-init && cat /proc/1/cmdline | tr '\0' ' ' | cut -d' ' -f1; test -n "$VCAP_APPLICATION" && echo environment; ls `+s.Data)
	require.ErrorContains(t, err, "cannot access") // the node's own files
	require.Equal(t, "vcap\n/home/vcap/app\n/.wardend-init\nenvironment\n", out)

	cmd, err := s.Command(ctx, "exec", "site", "1", "--", "bash", "-c", "tty; stty size; ps -o args= -p 1 2>/dev/null; exit 3")
	require.NoError(t, err)
	ours, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 30, Cols: 90})
	require.NoError(t, err)
	defer ours.Close()
	said, _ := io.ReadAll(ours) // a terminal ends with an error
	require.Error(t, cmd.Wait())
	require.Equal(t, 3, cmd.ProcessState.ExitCode())
	require.True(t, strings.HasPrefix(string(said), "/dev/pts/0\r\n30 90\r\n"), "%q", said)

	leavesNothing(t, s)
}

// leavesNothing kills who runs a command, which ignores that its connection ends.
func leavesNothing(t *testing.T, s *stack.Stack) {
	t.Helper()
	line := fmt.Sprintf("sleep\x0098762.%d\x00", rand.Uint64())
	cmd, err := s.Command(t.Context(), "exec", "site", "0", "--", "bash", "-c",
		`trap "" HUP; setsid `+strings.ReplaceAll(strings.TrimSuffix(line, "\x00"), "\x00", " ")+` & wait`)
	require.NoError(t, err)
	cmd.Stdin = bytes.NewReader(make([]byte, 1<<20)) // which nobody reads
	require.NoError(t, cmd.Start())
	runs := func() bool {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		return slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && string(text) == line
		})
	}
	require.Eventually(t, runs, later, pause)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Eventually(t, func() bool { return !runs() }, later, pause)
}
