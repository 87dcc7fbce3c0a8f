package containerpath_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

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

// TestNoFifoKeepsAnyoneWaiting: an app that has one for a directory would hold up whoever reads its logs, and its own end.
func TestNoFifoKeepsAnyoneWaiting(t *testing.T) {
	for name, app := range map[string]func(t *testing.T) string{
		"for a home": func(t *testing.T) string {
			t.Helper()
			path := container(t, "home")
			require.NoError(t, unix.Mkfifo(filepath.Join(path, "home", "vcap"), 0o600))
			return path
		},
		"behind a link": func(t *testing.T) string {
			t.Helper()
			path := container(t, "home")
			require.NoError(t, unix.Mkfifo(filepath.Join(path, "home", "fifo"), 0o600))
			require.NoError(t, os.Symlink("fifo", filepath.Join(path, "home", "vcap")))
			return path
		},
		"for a root": func(t *testing.T) string {
			t.Helper()
			path := container(t, "tmp")
			require.NoError(t, unix.Mkfifo(filepath.Join(path, "tmp", "rootfs"), 0o600))
			return path
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := containerpath.OpenDir(app(t), "/home/vcap")
			require.ErrorIs(t, err, unix.ENOTDIR)
		})
	}
}

func TestALinkWithinTheContainerIsFollowed(t *testing.T) {
	path := container(t, "home/other/app")
	require.NoError(t, os.Symlink("other", filepath.Join(path, "home", "vcap")))
	home, err := containerpath.OpenDir(path, "/home/vcap")
	require.NoError(t, err)
	defer home.Close()
	_, err = home.Stat("app")
	require.NoError(t, err)
}
