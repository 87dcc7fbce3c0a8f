package layers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// neighbour is a process in a mount namespace that gets whatever is mounted in shared mounts.
// The function lists what it sees mounted in dir.
func neighbour(t *testing.T, dir string) func() []string {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		input.Close()
		require.NoError(t, cmd.Wait())
	})
	return func() []string {
		list, err := os.ReadFile(filepath.Join("/proc", itoa(cmd.Process.Pid), "mountinfo"))
		require.NoError(t, err)
		var found []string
		for line := range strings.Lines(string(list)) {
			if at := strings.Fields(line)[4]; strings.HasPrefix(at, dir+"/") {
				found = append(found, strings.TrimPrefix(at, dir+"/"))
			}
		}
		return found
	}
}

// sharedDir is a directory in a mount that is shared, as the whole machine often is.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir := tempDir(t)
	tmpfs(t, dir)
	require.NoError(t, unix.Mount("", dir, "", unix.MS_SHARED, ""))
	return dir
}

func TestPrivateKeepsContainersFromNeighbours(t *testing.T) {
	for way, mark := range ways() {
		t.Run(way, func(t *testing.T) {
			dir := sharedDir(t)
			depot := filepath.Join(dir, "depot")
			write(t, depot, "stack/file", "")
			write(t, dir, "source/file", "")
			for range 2 {
				require.NoError(t, Private(depot))
			}
			assert.Equal(t, []string{depot}, mountsIn(t, depot), "once")
			seen := neighbour(t, dir)
			o := mark(newOverlay(t, depot, "stack"))
			mount(t, o)
			require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: filepath.Join(dir, "source"), Target: "/data"}))
			assert.Equal(t, []string{"depot"}, seen())
			require.NoError(t, Unmount(depot))
			assert.Empty(t, mountsIn(t, depot))
			assert.FileExists(t, filepath.Join(depot, "stack/file"))
		})
	}
	require.Error(t, Private("/none"))
	require.Error(t, Private("/etc/passwd"))
}

// TestOverlayInASharedMount shows what happens without Private: the overlay is
// seen elsewhere and goes there, too; what is mounted in it later is not.
func TestOverlayInASharedMount(t *testing.T) {
	for way, mark := range ways() {
		t.Run(way, func(t *testing.T) {
			dir := sharedDir(t)
			write(t, dir, "stack/file", "")
			source := filepath.Join(dir, "source")
			write(t, source, "inner/file", "")
			tmpfs(t, filepath.Join(source, "inner"))
			require.NoError(t, unix.Mount("", filepath.Join(source, "inner"), "", unix.MS_SHARED, ""))
			seen := neighbour(t, dir)
			o := mark(newOverlay(t, dir, "stack"))
			mount(t, o)
			require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: source, Target: "/data"}))
			assert.ElementsMatch(t, []string{"source/inner", "rootfs"}, seen())

			// Neither way through the bind's own mounts.
			require.NoError(t, os.Mkdir(filepath.Join(source, "inner/later"), 0o755))
			tmpfs(t, filepath.Join(source, "inner/later"))
			assert.NotContains(t, mountsIn(t, o.Target), filepath.Join(o.Target, "data/inner/later"))
			require.NoError(t, unix.Mount("tmpfs", filepath.Join(o.Target, "data/inner/later"), "tmpfs", 0, ""))
			assert.Len(t, mountsIn(t, filepath.Join(source, "inner")), 2)

			require.NoError(t, Unmount(o.Target))
			assert.NotContains(t, seen(), "rootfs")
		})
	}
}

// TestPrivateKeepsWhatIsMounted: a disk that somebody has mounted in the depot stays what is written to.
func TestPrivateKeepsWhatIsMounted(t *testing.T) {
	dir := sharedDir(t)
	depot, disk := filepath.Join(dir, "depot"), filepath.Join(dir, "depot/disk")
	require.NoError(t, os.MkdirAll(disk, 0o755))
	tmpfs(t, disk)
	write(t, disk, "file", "")
	require.NoError(t, Private(depot))
	assert.FileExists(t, filepath.Join(disk, "file"))
	require.NoError(t, unix.Unmount(depot, unix.MNT_DETACH))
	assert.FileExists(t, filepath.Join(disk, "file"), "and stays mounted")
}
