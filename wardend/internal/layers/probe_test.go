package layers

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestProbe(t *testing.T) {
	dir := tempDir(t)
	for range 2 {
		require.NoError(t, Probe(dir))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Empty(t, entries)
	}
	assert.Empty(t, mountsIn(t, dir))
}

func TestProbeCleansUpAfterAKill(t *testing.T) {
	dir := tempDir(t)
	probe := filepath.Join(dir, probeName)
	write(t, probe, "layer/file", "")
	o := newOverlay(t, probe, "layer")
	o.Target = filepath.Join(probe, "target")
	mount(t, o)
	require.NoError(t, Probe(dir))
	assert.NoDirExists(t, probe)
	assert.Empty(t, mountsIn(t, dir))
}

func TestProbeSaysWhyNot(t *testing.T) {
	dir := tempDir(t)
	require.ErrorIs(t, Probe(filepath.Join(dir, "none")), os.ErrNotExist)

	write(t, dir, "stack/file", "")
	o := newOverlay(t, dir, "stack")
	mount(t, o)
	err := Probe(o.Target)
	var layer *LayerError
	require.ErrorAs(t, err, &layer, "a layer in an overlay")
	assert.Contains(t, err.Error(), "layers cannot be stacked in "+o.Target)
	assert.Contains(t, err.Error(), "copy the directory to ext4")
	assert.NoDirExists(t, filepath.Join(o.Target, probeName))

	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		done <- withoutRights(func() error { return Probe(dir) })
	}()
	err = <-done
	require.ErrorIs(t, err, unix.EPERM)
	assert.Contains(t, err.Error(), "root")
	assert.NoDirExists(t, filepath.Join(dir, probeName))
}

// withoutRights calls f on a thread without CAP_SYS_ADMIN.
func withoutRights(f func() error) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	sets[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return err
	}
	return f()
}

func TestMountDoesNotGoOnWhenCancelled(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "stack/file", "")
	o := newOverlay(t, dir, "stack")
	ctx, cancel := context.WithCancel(context.Background())
	o.step = func(string) { cancel() }
	require.ErrorIs(t, o.Mount(ctx), context.Canceled)
	assert.Empty(t, mountsIn(t, dir))
	o.step = nil
	mount(t, o)
}
