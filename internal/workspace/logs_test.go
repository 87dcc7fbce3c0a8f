package workspace_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/workspace"
)

func keep(t *testing.T, store *workspace.Store, task, log string, lifetime time.Duration) {
	t.Helper()
	space, err := store.Create(task)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(space.Out(), runspec.FileLog), []byte(log), 0o666))
	require.NoError(t, store.KeepLog(task, lifetime))
	require.NoError(t, store.Remove(task))
}

func TestKeepLog(t *testing.T) {
	store := workspace.New(t.TempDir())
	keep(t, store, "t/1", "first", time.Hour)
	file := filepath.Join(store.KeptLog("t/1"), runspec.FileLog)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "first", string(text))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
	require.NoError(t, store.KeepLog("t/1", time.Hour), "twice")
	require.NoError(t, store.KeepLog("never there", time.Hour))
}

func TestKeptLogsGoWithTime(t *testing.T) {
	store := workspace.New(t.TempDir())
	keep(t, store, "old", "x", time.Hour)
	past := time.Now().Add(-2 * time.Hour)
	require.NoError(t, os.Chtimes(store.KeptLog("old"), past, past))
	keep(t, store, "new", "x", time.Hour)
	require.NoDirExists(t, store.KeptLog("old"))
	require.DirExists(t, store.KeptLog("new"))
}

func TestKeptLogsAreBounded(t *testing.T) {
	store := workspace.New(t.TempDir())
	for n, task := range []string{"oldest", "older", "newest"} {
		keep(t, store, task, "x", time.Hour)
		require.NoError(t, os.Truncate(filepath.Join(store.KeptLog(task), runspec.FileLog), 500<<20)) // a hole
		at := time.Now().Add(time.Duration(n-10) * time.Minute)
		require.NoError(t, os.Chtimes(store.KeptLog(task), at, at))
	}
	require.NoError(t, store.PruneLogs(time.Hour))
	require.NoDirExists(t, store.KeptLog("oldest"))
	require.DirExists(t, store.KeptLog("older"))
	require.DirExists(t, store.KeptLog("newest"))
}

func TestKeepLogFollowsNoLink(t *testing.T) {
	store := workspace.New(t.TempDir())
	space, err := store.Create("t")
	require.NoError(t, err)
	log := filepath.Join(space.Out(), runspec.FileLog)
	require.NoError(t, os.Remove(log))
	require.NoError(t, os.Symlink("/etc/passwd", log))
	require.ErrorIs(t, store.KeepLog("t", time.Hour), workspace.ErrNotRegular)
	require.NoDirExists(t, store.KeptLog("t"))
}
