package server

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestListen(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o660, 0o777} {
		socket := tempSocket(t)
		l, err := Listen(t.Context(), socket, mode, -1)
		require.NoError(t, err)
		info, err := os.Stat(socket)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm())
		_, err = Listen(t.Context(), socket, mode, -1)
		require.ErrorContains(t, err, "another server is listening there")
		l.SetUnlinkOnClose(false)
		require.NoError(t, l.Close())
		l, err = Listen(t.Context(), socket, mode, -1)
		require.NoError(t, err, "a dead server's socket is replaced")
		require.NoError(t, l.Close())
		require.NoFileExists(t, socket)
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Listen(t.Context(), file, 0o600, -1)
	require.ErrorContains(t, err, "something else than a socket")
	_, err = Listen(t.Context(), "/no/such/dir/s", 0o600, -1)
	require.ErrorIs(t, err, syscall.ENOENT)
}

func TestLookupGroup(t *testing.T) {
	for name, want := range map[string]int{"": -1, "root": 0, "0": 0, "12345": 12345} {
		gid, err := LookupGroup(name)
		require.NoError(t, err)
		require.Equal(t, want, gid, name)
	}
	for _, name := range []string{"no such group", "-1", "99999999999"} {
		_, err := LookupGroup(name)
		require.ErrorContains(t, err, strconv.Quote(name))
	}
}

// TestGroupOfTheSocket: at no moment can anybody connect but whom owner, group and mode allow in the end.
func TestGroupOfTheSocket(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	const ours, other = 4321, 4322
	socket := tempSocket(t)
	require.NoError(t, os.Chmod(filepath.Dir(socket), 0o755))
	stop := make(chan struct{})
	var tries sync.WaitGroup
	tries.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		beNobody(other)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if conn, err := net.Dial("unix", socket); err == nil {
				t.Error("another group could connect")
				_ = conn.Close()
			}
		}
	})
	for range 300 {
		l, err := Listen(t.Context(), socket, 0o660, ours)
		require.NoError(t, err)
		var st unix.Stat_t
		require.NoError(t, unix.Stat(socket, &st))
		require.EqualValues(t, ours, st.Gid)
		require.EqualValues(t, 0o660, st.Mode&0o777)
		require.NoError(t, l.Close())
	}
	close(stop)
	tries.Wait()
	l, err := Listen(t.Context(), socket, 0o660, ours)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	connected := make(chan error)
	go func() {
		runtime.LockOSThread()
		beNobody(ours)
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		connected <- err
	}()
	require.NoError(t, <-connected, "one of the group can")
}

// beNobody takes root's rights from this thread, as far as files are concerned.
func beNobody(gid int) {
	_, _ = unix.SetfsgidRetGid(gid)
	_, _ = unix.SetfsuidRetUid(65534)
}
