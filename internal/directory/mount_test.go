package directory

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTheKernelsFilesAreNotShown(t *testing.T) {
	for _, dir := range []string{"/proc", "/proc/self", "/sys", "/sys/kernel"} {
		t.Run(dir, func(t *testing.T) {
			n := newNode(t)
			n.http.Config.Handler = New(Options{
				Keys:      [][]byte{n.key},
				Instances: func(context.Context, string) (Place, error) { return At(dir), nil },
			})
			n.refused("")
		})
	}
	n := newNode(t)
	n.http.Config.Handler = New(Options{
		Keys:      [][]byte{n.key},
		Instances: func(context.Context, string) (Place, error) { return At("/proc/self"), nil },
	})
	for _, path := range []string{"environ", "fd", "cwd", "root", "maps"} {
		n.refused(path)
	}
}

// TestMountsInTheDirectory: what the node sees mounted there. The kernel's own is refused, and what was bound into the
// container for the app to see is part of its directory.
func TestMountsInTheDirectory(t *testing.T) {
	n := newNode(t)
	n.outside()
	shared := filepath.Join(n.base, "shared")
	require.NoError(t, os.Mkdir(shared, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(shared, "file"), []byte("for the app"), 0o600))
	require.NoError(t, os.Symlink("../../key", filepath.Join(shared, "up")))
	for _, dir := range []string{"proc", "sys", "bound"} {
		require.NoError(t, os.Mkdir(filepath.Join(n.instance, dir), 0o755))
	}
	n.write("environ", "")
	handler := New(Options{Keys: [][]byte{n.key}, Instances: n.resolver(instanceID, n.instance)})
	answers, err := apart(func() error {
		in := func(name string) string { return filepath.Join(n.instance, name) }
		for _, mount := range []struct {
			source, target, kind string
			flags                uintptr
		}{
			{"proc", in("proc"), "proc", 0},
			{"/sys", in("sys"), "", unix.MS_BIND},
			{shared, in("bound"), "", unix.MS_BIND},
			{"/proc/self/environ", in("environ"), "", unix.MS_BIND},
		} {
			if err := unix.Mount(mount.source, mount.target, mount.kind, mount.flags, ""); err != nil {
				return err
			}
		}
		return nil
	}, func() map[string]*httptest.ResponseRecorder {
		all := map[string]*httptest.ResponseRecorder{}
		for _, path := range []string{"proc", "proc/1/environ", "sys", "sys/kernel", "environ", "bound/file", "bound/up"} {
			all[path] = httptest.NewRecorder()
			handler.ServeHTTP(all[path], httptest.NewRequest(http.MethodGet, n.url(path, false), nil))
		}
		return all
	})
	if err != nil {
		t.Skipf("mounts need a privilege that is not there: %v", err)
	}
	require.NotEmpty(t, answers)
	for path, w := range answers {
		if path == "bound/file" {
			require.Equal(t, "for the app", w.Body.String())
			continue
		}
		require.Equal(t, http.StatusForbidden, w.Code, "%s: %s", path, w.Body)
		require.NotContains(t, w.Body.String(), secret)
	}
}

// apart mounts and then does something on a thread that alone sees the mounts, and that ends with it.
func apart[T any](mount func() error, do func() T) (result T, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err = unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return
		}
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return
		}
		if err = mount(); err != nil {
			return
		}
		result = do()
	}()
	<-done
	return result, err
}
