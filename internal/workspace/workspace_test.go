package workspace_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/workspace"
)

func TestCreateIsIdempotentAndOpenToTheContainer(t *testing.T) {
	store := workspace.New(t.TempDir())
	space, err := store.Create("task-1")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(space.Package(), []byte("zip"), 0o644))
	again, err := store.Create("task-1")
	require.NoError(t, err)
	require.Equal(t, space, again)
	require.Equal(t, space, store.Path("task-1"))
	require.FileExists(t, space.Package())
	for path, mode := range map[string]fs.FileMode{space.Dir(): 0o700, space.In(): 0o755, space.Out(): 0o755} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
}

func TestTaskNamesStayInside(t *testing.T) {
	base := t.TempDir()
	store := workspace.New(base)
	for _, task := range []string{"..", "../..", "", "a/b", "/etc", ".", "x\x00y"} {
		space, err := store.Create(task)
		require.NoError(t, err, "%q", task)
		require.Equal(t, filepath.Join(base, "staging"), filepath.Dir(space.Dir()), "%q", task)
	}
}

func TestRemoveTakesWhatABuildpackLeft(t *testing.T) {
	base := t.TempDir()
	store := workspace.New(base)
	space, err := store.Create("t")
	require.NoError(t, err)
	outside := filepath.Join(base, "outside")
	require.NoError(t, os.Mkdir(outside, 0o500))
	require.NoError(t, os.MkdirAll(filepath.Join(space.Out(), "a", "b"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(space.Out(), "a", "b", "c"), nil, 0o000))
	require.NoError(t, os.Symlink(outside, filepath.Join(space.Out(), "a", "link")))
	require.NoError(t, os.Chmod(filepath.Join(space.Out(), "a", "b"), 0o500))
	require.NoError(t, os.Chmod(filepath.Join(space.Out(), "a"), 0o000))

	require.NoError(t, store.Remove("t"))
	require.NoDirExists(t, space.Dir())
	info, err := os.Stat(outside)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o500), info.Mode().Perm(), "no link was followed")
	require.NoError(t, store.Remove("t"))
	require.NoError(t, store.Remove("never there"))
}

func TestOpenOutTrustsNobody(t *testing.T) {
	base := t.TempDir()
	space, err := workspace.New(base).Create("t")
	require.NoError(t, err)
	secret := filepath.Join(base, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("s"), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(space.Out(), "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(space.Out(), "fifo"), 0o666))
	require.NoError(t, os.Mkdir(filepath.Join(space.Out(), "dir"), 0o755))
	for _, name := range []string{"link", "fifo", "dir"} {
		_, err := space.OpenOut(name)
		require.ErrorIs(t, err, workspace.ErrNotRegular, name)
	}
	_, err = space.OpenOut("none")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = space.OpenOut("../../../secret")
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, os.WriteFile(filepath.Join(space.Out(), "file"), []byte("content"), 0o644))
	file, err := space.OpenOut("file")
	require.NoError(t, err)
	defer file.Close()
	content, err := io.ReadAll(file)
	require.NoError(t, err)
	require.Equal(t, "content", string(content))
}

func TestOutTakesTheFilesOfTheContractAlone(t *testing.T) {
	space, err := workspace.New(t.TempDir()).Create("t")
	require.NoError(t, err)
	info, err := os.Stat(space.Out())
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o022, "nobody else can make files in it")
	for _, name := range runspec.OutFiles() {
		info, err := os.Stat(filepath.Join(space.Out(), name))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o666), info.Mode().Perm(), name)
	}
	size, err := space.Size()
	require.NoError(t, err)
	require.Zero(t, size)
	require.NoError(t, os.WriteFile(filepath.Join(space.Out(), runspec.FileLog), make([]byte, 1<<20), 0o666))
	size, err = space.Size()
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, size)
}

func TestStartedAndResult(t *testing.T) {
	space, err := workspace.New(t.TempDir()).Create("t")
	require.NoError(t, err)
	require.False(t, space.Started())
	_, began := space.Began()
	require.False(t, began)
	_, err = space.Result()
	require.ErrorIs(t, err, runspec.ErrNoResult)

	require.NoError(t, os.WriteFile(filepath.Join(space.Out(), runspec.FileStarted), []byte("started\n"), 0o666))
	require.True(t, space.Started())
	require.NoError(t, space.Begin())
	first, began := space.Began()
	require.True(t, began)
	require.WithinDuration(t, time.Now(), first, time.Minute)
	require.NoError(t, space.Begin())
	again, _ := space.Began()
	require.Equal(t, first, again)
	want := runspec.Result{BuildpackKey: "go"}
	require.NoError(t, want.Write(filepath.Join(space.Out(), runspec.FileResult)))
	got, err := space.Result()
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = workspace.New(t.TempDir()).Path("never there").Result()
	require.ErrorIs(t, err, runspec.ErrNoResult)
}
