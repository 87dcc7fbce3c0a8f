package oci

import (
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestPidIsAnothers: a number that was given again is nobody's to kill, be it a process's or a thread's.
func TestPidIsAnothers(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	rec := &record{}
	require.NoError(t, rec.identify(cmd.Process.Pid))
	earlier, boot := *rec, *rec
	earlier.Start--
	boot.Boot = "another"
	for _, r := range []*record{{}, &earlier, &boot} {
		require.False(t, alive(r))
		require.NoError(t, killInit(t.Context(), r))
		require.True(t, alive(rec))
	}
	thread, done := make(chan int), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		thread <- unix.Gettid()
		<-done
	}()
	defer close(done)
	require.NoError(t, killInit(t.Context(), &record{PID: <-thread, Start: 1, Boot: rec.Boot}))

	require.NoError(t, killInit(t.Context(), rec))
	require.False(t, alive(rec), "its parent has not waited for it yet")
	require.NoError(t, killInit(t.Context(), rec))
	require.NoError(t, rec.identify(unix.Getpid()))
	require.True(t, alive(rec))
}

func TestHostname(t *testing.T) {
	for handle, want := range map[string]string{
		"": "container", "..": "container", "/": "container", "-a-": "a", "17a.b_c": "17a-b-c", "äö x": "x",
		string(make([]byte, 10000)): "container",
	} {
		require.Equal(t, want, hostname(handle), "%.20q", handle)
	}
}
