package layers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

const (
	inNamespace = "WARDEND_LAYERS_NAMESPACE"
	killAt      = "WARDEND_LAYERS_KILL_AT"
	killDir     = "WARDEND_LAYERS_KILL_DIR"
	killOldWay  = "WARDEND_LAYERS_KILL_OLD_WAY"
)

// TestMain runs the tests in a mount namespace of their own, so that the
// kernel takes away whatever they leave.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(killAt) != "":
		mountAndDie()
	case os.Geteuid() == 0 && os.Getenv(inNamespace) == "":
		os.Exit(runInNamespace())
	}
	os.Exit(m.Run())
}

func runInNamespace() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// Go makes all mounts of a namespace private that it unshares.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// ids are the container's in all tests.
func ids() idmap.Range { return idmap.Range{Host: 300000, Size: 65536} }

func needRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("mounts take root")
	}
}

// tempDir is one that everybody can look into.
func tempDir(tb testing.TB) string {
	tb.Helper()
	needRoot(tb)
	dir := tb.TempDir()
	require.NoError(tb, os.Chmod(filepath.Dir(dir), 0o755))
	return dir
}

// newOverlay is one in dir; the layers are taken there, too. It is unmounted after the test.
func newOverlay(tb testing.TB, dir string, layers ...string) Overlay {
	tb.Helper()
	o := Overlay{
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Target: filepath.Join(dir, "rootfs"),
		IDs: ids(),
	}
	for _, layer := range layers {
		if !filepath.IsAbs(layer) {
			layer = filepath.Join(dir, layer)
		}
		o.Layers = append(o.Layers, layer)
	}
	tb.Cleanup(func() { require.NoError(tb, Unmount(o.Target)) })
	return o
}

// ways are those of stacking: with detached layers, and as on a kernel that cannot.
func ways() map[string]func(Overlay) Overlay {
	return map[string]func(Overlay) Overlay{
		"detached": func(o Overlay) Overlay { return o },
		"attached": func(o Overlay) Overlay { o.attached = true; return o },
	}
}

func mount(tb testing.TB, o Overlay) {
	tb.Helper()
	require.NoError(tb, o.Mount(context.Background()))
}

// write makes a file and its parents beneath dir.
func write(tb testing.TB, dir, name, content string) {
	tb.Helper()
	path := filepath.Join(dir, name)
	require.NoError(tb, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(tb, os.WriteFile(path, []byte(content), 0o644))
}

func read(tb testing.TB, path ...string) string {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	require.NoError(tb, err)
	return string(content)
}

func owner(tb testing.TB, path ...string) uint32 {
	tb.Helper()
	var stat unix.Stat_t
	require.NoError(tb, unix.Lstat(filepath.Join(path...), &stat))
	require.Equal(tb, stat.Uid, stat.Gid)
	return stat.Uid
}

// snapshot is all that can be known about a directory's content.
func snapshot(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	all := map[string]string{}
	require.NoError(tb, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		var sum [sha256.Size]byte
		if entry.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = sha256.Sum256(content)
		}
		attrs := make([]byte, 4096)
		n, _ := unix.Llistxattr(path, attrs)
		all[path] = fmt.Sprint(stat.Ino, stat.Mode, stat.Uid, stat.Gid, stat.Size, stat.Mtim, stat.Ctim, sum, string(attrs[:max(n, 0)]))
		return nil
	}))
	return all
}

// mountsIn lists what is mounted at dir and beneath.
func mountsIn(tb testing.TB, dir string) []string {
	tb.Helper()
	// Not PrefixFilter, which finds only the root in "/".
	infos, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) {
		return info.Mountpoint != dir && !strings.HasPrefix(info.Mountpoint, strings.TrimSuffix(dir, "/")+"/"), false
	})
	require.NoError(tb, err)
	var paths []string
	for _, info := range infos {
		paths = append(paths, info.Mountpoint)
	}
	return paths
}

// asContainer runs a shell script as user id of the container, in its user namespace.
func asContainer(t *testing.T, id uint32, dir, script string) (string, error) {
	t.Helper()
	maps := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(ids().Host), Size: int(ids().Size)}}
	cmd := exec.Command("/bin/sh", "-ec", script)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: maps, GidMappings: maps, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{Uid: id, Gid: id},
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
