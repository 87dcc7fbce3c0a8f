package containerpath_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/containerpath"
)

func container(t *testing.T, dirs ...string) string {
	t.Helper()
	path := t.TempDir()
	for _, dir := range dirs {
		require.NoError(t, os.MkdirAll(filepath.Join(path, dir), 0o755))
	}
	return path
}

func TestRootOfBothKindsOfWarden(t *testing.T) {
	for kind, path := range map[string]string{
		"process": container(t, "home/vcap"), "linux": container(t, "tmp/rootfs/home/vcap"),
	} {
		home, err := containerpath.OpenDir(path, "/home/vcap")
		require.NoError(t, err, kind)
		require.NoError(t, home.Close())
	}
}

func TestAppCannotChooseItsRoot(t *testing.T) {
	outside := container(t, "rootfs/home/vcap")
	t.Run("a rootfs of the app's own", func(t *testing.T) {
		path := container(t, "home/vcap/mine", "tmp/rootfs/home/vcap")
		home, err := containerpath.OpenDir(path, "/home/vcap")
		require.NoError(t, err)
		defer home.Close()
		_, err = home.Stat("mine")
		require.NoError(t, err)
	})
	t.Run("a link in its place", func(t *testing.T) {
		path := container(t, "tmp")
		require.NoError(t, os.Symlink(filepath.Join(outside, "rootfs"), filepath.Join(path, "tmp", "rootfs")))
		_, err := containerpath.Open(path)
		require.Error(t, err)
	})
	t.Run("a link on the way", func(t *testing.T) {
		path := container(t)
		require.NoError(t, os.Symlink(outside, filepath.Join(path, "tmp")))
		_, err := containerpath.Open(path)
		require.Error(t, err)
	})
	t.Run("a link for a home", func(t *testing.T) {
		path := container(t, "home")
		require.NoError(t, os.Symlink(outside, filepath.Join(path, "home", "vcap")))
		_, err := containerpath.OpenDir(path, "/home/vcap")
		require.Error(t, err)
	})
}
