package launch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogFileIsMovedAsideAtItsLimit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stdout.log")
	require.NoError(t, os.WriteFile(path, []byte("before\n"), 0o600))
	l, err := openLogFile(path, 20, 0)
	require.NoError(t, err)
	for _, line := range []string{"one\n", "two\n", "three\n", "four\n"} {
		n, err := l.Write([]byte(line))
		require.NoError(t, err)
		require.Equal(t, len(line), n)
	}
	require.NoError(t, l.Close())
	requireText(t, "before\none\ntwo\n", path+".1")
	requireText(t, "three\nfour\n", path)
}

// What is written may end within a line: the file is moved aside at the end of one, a little early.
func TestLogFileIsMovedAsideBetweenLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stdout.log")
	l, err := openLogFile(path, 20, 10)
	require.NoError(t, err)
	for _, part := range []string{"one\ntw", "o\nthr", "ee\nfour"} {
		_, err := l.Write([]byte(part))
		require.NoError(t, err)
	}
	requireText(t, "one\ntwo\n", path+".1")
	requireText(t, "three\nfour", path)
	_, err = l.Write([]byte(" and more\n"))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	requireText(t, "three\nfour and more\n", path) // which is full: what comes next would be another file's
}

// A line that is longer than the slack is torn rather than the bound broken.
func TestLogFileWithoutLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stdout.log")
	l, err := openLogFile(path, 20, 8)
	require.NoError(t, err)
	for range 7 {
		_, err := l.Write([]byte("123456"))
		require.NoError(t, err)
		for _, file := range []string{path, path + ".1"} {
			if info, err := os.Stat(file); err == nil {
				require.LessOrEqual(t, info.Size(), int64(20))
			}
		}
	}
	require.NoError(t, l.Close())
	requireText(t, strings.Repeat("123456", 3), path+".1")
	requireText(t, "123456", path)
}

// One write that is longer than the limit is kept whole, rather than torn.
func TestLogFileTakesALongWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stdout.log")
	l, err := openLogFile(path, 10, 0)
	require.NoError(t, err)
	for range 2 {
		_, err = l.Write([]byte(strings.Repeat("x", 15)))
		require.NoError(t, err)
	}
	require.NoError(t, l.Close())
	requireText(t, strings.Repeat("x", 15), path)
}

// An app that removes its log directory loses its log, and nothing else.
func TestLogFileThatCannotBeOpenedAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	require.NoError(t, os.Mkdir(dir, 0o700))
	l, err := openLogFile(filepath.Join(dir, "stdout.log"), 4, 0)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	for range 3 {
		n, err := l.Write([]byte("abc"))
		require.NoError(t, err)
		require.Equal(t, 3, n)
	}
	require.NoError(t, l.Close())
}

func requireText(t *testing.T, want, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(data))
}
