package launch

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/runspec"
)

// What an app puts where its log is to be does not keep the launcher waiting, which is to tell of the app's end, nor does it
// lead it elsewhere.
func TestLogFileTakesThePlaceOfWhatIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	elsewhere := filepath.Join(dir, "elsewhere")
	for name, put := range map[string]func(path string) error{
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"link":      func(path string) error { return os.Symlink(elsewhere, path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, put(path))
		l, err := openLogFile(path, 100, 10)
		require.NoError(t, err, name)
		_, err = l.Write([]byte("a line\n"))
		require.NoError(t, err)
		require.NoError(t, l.Close())
		text, err := os.ReadFile(path)
		require.NoError(t, err, name)
		require.Equal(t, "a line\n", string(text))
	}
	require.NoFileExists(t, elsewhere)
}

// Nor does it when the launcher has to say why there is no app.
func TestFaultIsToldInPlaceOfAFifo(t *testing.T) {
	t.Parallel()
	l := Launcher{Root: t.TempDir(), Stderr: io.Discard}
	path := l.path(runspec.PathStderr)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, unix.Mkfifo(path, 0o600))
	told := make(chan struct{})
	go func() {
		defer close(told)
		l.explain(errNoCommand)
	}()
	select {
	case <-told:
	case <-time.After(time.Minute):
		require.Fail(t, "it waits for a reader")
	}
	requireText(t, errNoCommand.Error()+"\n", path)
}
