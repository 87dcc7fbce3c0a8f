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

// As on a full disk: what is lost is counted, and said in a line of its own as soon as that can be written.
func TestLogFileSaysWhatItCouldNotWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stdout.log")
	l, err := openLogFile(path, 1000, 0)
	require.NoError(t, err)
	write := func(text string) {
		t.Helper()
		_, err := l.Write([]byte(text))
		require.NoError(t, err)
	}
	full := func(failing func()) {
		t.Helper()
		good := l.file
		l.file, err = os.Open(path)
		require.NoError(t, err)
		failing()
		require.NoError(t, l.file.Close())
		l.file = good
	}
	write("one\ntw")
	full(func() { write("o\nthree\n"); write("four\n") })
	write("five\n")
	write("six\n")
	full(func() { write("seven\n") })
	require.NoError(t, l.Close())
	requireText(t, "one\ntw\n[dea] lost 13 bytes that could not be written: is the disk full?\nfive\nsix\n"+
		"[dea] lost 6 bytes that could not be written: is the disk full?\n", path)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, info.Size(), l.total, "places in the stream are as the file has them")
}

func requireText(t *testing.T, want, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(data))
}
