package directory

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func hexSum(key []byte, kind Kind, id, path, timestamp string) string {
	return hex.EncodeToString(sum(key, kind, id, path, timestamp))
}

// refused checks that a path is refused, read and followed alike, and soon.
func (n *node) refused(path string) {
	n.t.Helper()
	for _, tail := range []bool{false, true} {
		done := make(chan answered, 1)
		go func() { done <- n.get(n.url(path, tail)) }()
		select {
		case a := <-done:
			require.Equal(n.t, http.StatusForbidden, a.status, "%q: %s", path, a.body)
			require.NotContains(n.t, a.body, "secret")
			require.NotContains(n.t, a.body, n.base)
		case <-time.After(patience):
			require.Failf(n.t, "blocked", "%q", path)
		}
	}
}

func (n *node) link(target, name string) {
	n.t.Helper()
	require.NoError(n.t, os.Symlink(target, filepath.Join(n.instance, name)))
}

func TestNoPathLeadsOutside(t *testing.T) {
	n := newNode(t)
	require.NoError(t, os.WriteFile(filepath.Join(n.base, "key"), []byte("secret"), 0o600))
	// A sibling whose name begins like the instance's.
	require.NoError(t, os.MkdirAll(n.instance+"-other", 0o755))
	require.NoError(t, os.WriteFile(n.instance+"-other/key", []byte("secret"), 0o600))
	n.write("sub/file", "x")
	for _, path := range []string{
		"..", "../key", "/../key", "sub/../../key", "sub/../..", "../box-other/key", "../box/../key",
		"../../../../../../../../etc/passwd", "sub/./../../box-other", "../box-other",
	} {
		n.refused(path)
	}
	// An absolute path is one of the instance's own.
	require.Equal(t, http.StatusNotFound, n.read("/etc/passwd").status)
	require.Equal(t, http.StatusNotFound, n.read(filepath.Join(n.base, "key")).status)
}

func TestNoLinkLeadsOutside(t *testing.T) {
	n := newNode(t)
	require.NoError(t, os.WriteFile(filepath.Join(n.base, "key"), []byte("secret"), 0o600))
	require.NoError(t, os.MkdirAll(n.instance+"-other", 0o755))
	require.NoError(t, os.WriteFile(n.instance+"-other/key", []byte("secret"), 0o600))
	n.write("sub/file", "inside")
	n.link("../key", "up")
	n.link("..", "parent")
	n.link("../box-other", "sibling")
	n.link(filepath.Join(n.base, "key"), "absolute")
	n.link("/", "root")
	n.link("/proc/self/environ", "environ")
	n.link("up", "chain")
	n.link("sub/../../key", "winding")
	n.link("/proc/self/cwd", "magic")
	n.link("loop", "loop")
	n.link(filepath.Join(n.instance, "sub", "file"), "absolute-inside")
	for _, path := range []string{
		"up", "parent", "parent/key", "sibling/key", "absolute", "root", "root/etc/passwd", "environ", "chain",
		"winding", "magic", "loop", "parent/box/sub/file", "absolute-inside",
	} {
		n.refused(path)
	}

	n.link("sub/file", "good")
	n.link("sub", "dir")
	require.NoError(t, os.Symlink("../sub/./file", filepath.Join(n.instance, "sub", "around")))
	for _, path := range []string{"good", "dir/file", "sub/around", "dir/../sub/file"} {
		require.Equal(t, "inside", n.read(path).body, path)
	}
	n.link("nowhere", "dangling")
	require.Equal(t, http.StatusNotFound, n.read("dangling").status)
}

func TestOnlyFilesAndDirectoriesAreRead(t *testing.T) {
	n := newNode(t)
	require.NoError(t, syscall.Mkfifo(filepath.Join(n.instance, "fifo"), 0o600))
	n.link("fifo", "to-fifo")
	// A socket's path is short, wherever the tests' directory is.
	t.Chdir(n.instance)
	listener, err := net.Listen("unix", "socket")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	n.refused("fifo")
	n.refused("to-fifo")
	n.refused("socket")
	if err := syscall.Mknod(filepath.Join(n.instance, "zero"), syscall.S_IFCHR|0o666, 1<<8|5); err == nil {
		n.refused("zero")
	} else {
		require.NotEqual(t, 0, os.Getuid(), "root can make a device: %v", err)
	}
}

func TestTheKernelsFilesAreNotShown(t *testing.T) {
	n := newNode(t)
	n.http.Config.Handler = New(Options{
		Keys:      [][]byte{n.key},
		Instances: func(context.Context, string) (Place, error) { return At("/proc/self"), nil },
	})
	n.refused("environ")
	n.refused("fd")
}

func TestWhatMayNotBeReadIsRefused(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	n := newNode(t)
	n.write("file", "x")
	require.NoError(t, os.Chmod(filepath.Join(n.instance, "file"), 0))
	n.refused("file")
}

// An app that swaps a directory for a link, or a file for a fifo, as fast as it can while it is being read.
func TestNoRaceLeadsOutside(t *testing.T) {
	n := newNode(t)
	require.NoError(t, os.MkdirAll(n.instance+"-other", 0o755))
	require.NoError(t, os.WriteFile(n.instance+"-other/file", []byte("secret"), 0o600))
	n.write("d/file", "inside")
	n.write("f", "inside")
	n.link("../box-other", "evil")
	require.NoError(t, syscall.Mkfifo(filepath.Join(n.instance, "fifo"), 0o600))
	in := func(name string) string { return filepath.Join(n.instance, name) }
	stop := make(chan struct{})
	var app sync.WaitGroup
	swap := func(a, b string) {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(in(a), in(a+"-away"))
			_ = os.Rename(in(b), in(a))
			_ = os.Rename(in(a), in(b))
			_ = os.Rename(in(a+"-away"), in(a))
		}
	}
	app.Go(func() { swap("d", "evil") })
	app.Go(func() { swap("f", "fifo") })
	handler := New(Options{Keys: [][]byte{n.key}, Instances: n.resolver(instanceID, n.instance)})
	for range 2000 {
		for _, path := range []string{"d/file", "f"} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, n.url(path, false), nil))
			require.NotContains(t, w.Body.String(), "secret")
			require.Contains(t, []int{http.StatusOK, http.StatusForbidden, http.StatusNotFound}, w.Code, w.Body.String())
		}
	}
	close(stop)
	app.Wait()
}
