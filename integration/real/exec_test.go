package real

import (
	"io"
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
}
