package execserver

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestAnAppCannotHaveTheWorkerSpeakToAnotherSocket: whatever it puts in the place of a session's, or of what leads there.
func TestAnAppCannotHaveTheWorkerSpeakToAnotherSocket(t *testing.T) {
	base, err := os.MkdirTemp("", "x") // a socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	container := filepath.Join(base, "c")
	require.NoError(t, os.MkdirAll(filepath.Join(container, "home/vcap"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(container, "tmp/real"), 0o755))
	listen := func(path string) {
		t.Helper()
		listener, err := net.Listen("unix", path)
		require.NoError(t, err)
		t.Cleanup(func() { listener.Close() })
	}
	outside := filepath.Join(base, "warden.sock")
	listen(outside)
	listen(filepath.Join(container, "tmp/real/s"))
	require.NoError(t, os.Symlink(outside, filepath.Join(container, "tmp/link")))
	require.NoError(t, os.Symlink("../../warden.sock", filepath.Join(container, "tmp/up")))
	require.NoError(t, os.Symlink(base, filepath.Join(container, "tmp/dir")))
	require.NoError(t, os.Symlink("real", filepath.Join(container, "tmp/inside")))
	require.NoError(t, os.WriteFile(filepath.Join(container, "tmp/file"), nil, 0o600))
	require.NoError(t, unix.Mkfifo(filepath.Join(container, "tmp/fifo"), 0o600))

	connection, err := dial(container, "/tmp/real/s")
	require.NoError(t, err)
	require.NoError(t, connection.Close())
	for _, path := range []string{
		"/tmp/link", "/tmp/up", "/tmp/dir/warden.sock", "/tmp/inside/s", "/tmp/file", "/tmp/fifo", "/tmp/real", "/tmp/nothing",
		"/../warden.sock",
	} {
		_, err := dial(container, path)
		require.Error(t, err, path)
	}
}
