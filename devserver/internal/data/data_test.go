package data_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/devserver/internal/data"
)

func TestSecondUserIsRefusedByName(t *testing.T) {
	path := t.TempDir()
	first, err := data.Open(path)
	require.NoError(t, err)
	_, err = data.Open(path)
	var inUse *data.InUseError
	require.ErrorAs(t, err, &inUse)
	require.Equal(t, os.Getpid(), inUse.PID)
	require.ErrorContains(t, err, path)
	require.NoError(t, first.Close())
	again, err := data.Open(path)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.DirExists(t, path)
}

func TestTemporaryDirectoryGoesWithClose(t *testing.T) {
	dir, err := data.Open("")
	require.NoError(t, err)
	require.DirExists(t, dir.Logs())
	require.NoError(t, dir.Close())
	require.NoDirExists(t, dir.Path())
}

func TestTemporaryDirectoryThatIsKeptStays(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir, err := data.Open("")
	require.NoError(t, err)
	dir.Keep()
	require.NoError(t, dir.Close())
	require.DirExists(t, dir.Path())
}

func TestSocketOfALongPathCanBeListenedOn(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	dir, err := data.Open(long)
	require.NoError(t, err)
	defer func() { require.NoError(t, dir.Close()) }()
	one, err := dir.Socket(1)
	require.NoError(t, err)
	two, err := dir.Socket(2)
	require.NoError(t, err)
	require.NotEqual(t, one, two)
	listener, err := net.Listen("unix", one)
	require.NoError(t, err)
	require.NoError(t, listener.Close())
}

func TestNodesHere(t *testing.T) {
	dir, err := data.Open(t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, dir.Close()) }()
	for _, name := range []string{"1", "3", "x"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir.Path(), "nodes", name), 0o700))
	}
	numbers, err := dir.NodesHere()
	require.NoError(t, err)
	require.ElementsMatch(t, []int{1, 3}, numbers)
}

func TestLongLogsAreSetAside(t *testing.T) {
	path := t.TempDir()
	first, err := data.Open(path)
	require.NoError(t, err)
	long, short := first.Log("long"), first.Log("short")
	require.NoError(t, os.WriteFile(long, nil, 0o600))
	require.NoError(t, os.Truncate(long, 17<<20))
	require.NoError(t, os.WriteFile(short, nil, 0o600))
	require.NoError(t, first.Close())
	again, err := data.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, again.Close()) }()
	require.NoFileExists(t, long)
	require.FileExists(t, long+".old")
	require.FileExists(t, short)
}
