package layers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestUnmountNothing(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "dir/file", "x")
	require.NoError(t, os.Symlink("/", filepath.Join(dir, "link")))
	for _, name := range []string{"none", "none/none", "dir", "dir/file", "dir/file/beneath", "link"} {
		require.NoError(t, Unmount(filepath.Join(dir, name)), name)
		mounted, err := Mounted(filepath.Join(dir, name))
		require.NoError(t, err, name)
		assert.False(t, mounted, name)
	}
	for _, name := range []string{"", "/", "//", "/..", ".", "tmp"} {
		require.Error(t, Unmount(name), "not the machine's root")
	}
	mounted, err := Mounted("/proc")
	require.NoError(t, err)
	assert.True(t, mounted)
}

func TestUnmountStackedAndNested(t *testing.T) {
	dir := tempDir(t)
	target := filepath.Join(dir, "target")
	mountAll := func() {
		require.NoError(t, os.MkdirAll(target, 0o755))
		for range 5 {
			require.NoError(t, unix.Mount("tmpfs", target, "tmpfs", 0, ""))
			require.NoError(t, os.Mkdir(filepath.Join(target, "in ner"), 0o755))
			for range 2 {
				require.NoError(t, unix.Mount("tmpfs", filepath.Join(target, "in ner"), "tmpfs", 0, ""))
			}
		}
	}
	mountAll()
	require.NoError(t, Unmount(target))
	assert.Empty(t, mountsIn(t, dir))
	require.NoError(t, Unmount(target))

	mountAll()
	require.NoError(t, Unmount(dir), "beneath a directory that is no mount")
	assert.Empty(t, mountsIn(t, dir))

	mountAll()
	require.NoError(t, os.Symlink(dir, filepath.Join(tempDir(t), "link")))
	other := filepath.Join(tempDir(t), "link")
	require.NoError(t, os.Symlink(dir, other))
	require.NoError(t, Unmount(filepath.Join(other, "target")))
	require.NoError(t, Unmount(other), "a link is not followed")
	assert.Empty(t, mountsIn(t, dir))
}

func TestUnmountAFile(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "file", "")
	path := filepath.Join(dir, "file")
	require.NoError(t, unix.Mount("/etc/passwd", path, "", unix.MS_BIND, ""))
	mounted, err := Mounted(path)
	require.NoError(t, err)
	require.True(t, mounted)
	require.NoError(t, Unmount(path))
	assert.Empty(t, read(t, path))
}

func TestUnmountWhatIsBusy(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "source/file", "x")
	o := newTree(t, dir)
	require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: filepath.Join(dir, "source"), Target: "/data"}))
	file, err := os.Create(filepath.Join(o.Target, "open"))
	require.NoError(t, err)
	defer file.Close()
	cmd := exec.Command("/bin/sh", "-c", "read line; echo still > here; cat here")
	cmd.Dir = filepath.Join(o.Target, "data")
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	require.NoError(t, Unmount(o.Target))
	assert.Empty(t, mountsIn(t, dir))
	entries, err := os.ReadDir(o.Target)
	require.NoError(t, err)
	assert.Empty(t, entries)
	_, err = file.WriteString("still there")
	require.NoError(t, err)
	_, err = fmt.Fprintln(input)
	require.NoError(t, err)
	words := make([]byte, 5)
	_, err = output.Read(words)
	require.NoError(t, err)
	assert.Equal(t, "still", string(words))
	require.NoError(t, cmd.Wait())
	require.NoError(t, os.Remove(o.Target), "the mount point is free")
}

func TestUnmountFreesTheFileSystem(t *testing.T) {
	dir := tempDir(t)
	tmpfs(t, filepath.Join(dir, "scratch"))
	write(t, dir, "stack/file", "")
	o := newOverlay(t, filepath.Join(dir, "scratch"), filepath.Join(dir, "stack"))
	mount(t, o)
	require.ErrorIs(t, unix.Unmount(filepath.Join(dir, "scratch"), 0), unix.EBUSY)
	require.NoError(t, Unmount(o.Target))
	require.NoError(t, unix.Unmount(filepath.Join(dir, "scratch"), 0), "nothing holds the file system of upper any more")
}
