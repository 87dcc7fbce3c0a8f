package scratch

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The tests run in a mount namespace of their own: whatever is left mounted goes with it, and its loop devices too.
const (
	namespaceVariable = "SCRATCH_TEST_NAMESPACE"
	childVariable     = "SCRATCH_TEST_CHILD"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(childVariable) != "":
		os.Exit(child(os.Getenv(childVariable)))
	case os.Geteuid() == 0 && os.Getenv(namespaceVariable) == "":
		os.Exit(inNamespace())
	default:
		os.Exit(m.Run())
	}
}

func inNamespace() int {
	// Who has this capability may go beyond the quotas of an ext4. An overlay gives it away, and so do we.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_RESOURCE, 0, 0, 0); err != nil {
		return fail(err)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), namespaceVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return fail(err)
	}
	return 0
}

// Sizes of what the tests make.
const (
	mib     = 1 << 20
	imgSize = 4 << 30
)

// variant is a machine: where the store is to lie, and how it limits there.
type variant struct {
	name string
	kind string
	// dir makes the directory.
	dir func(testing.TB) string
}

func variants() []variant {
	return []variant{
		{"btrfs image", KindBtrfs, plain},
		{"btrfs with full quotas", KindAuto, btrfsWith(quotaEnable)},
		{"btrfs with simple quotas", KindAuto, btrfsWith(quotaEnableSimple)},
		{"images", KindImage, plain},
		{"ext4 with project quotas", KindAuto, ext4WithProjectQuotas()},
		{"xfs with project quotas", KindAuto, withProjectQuotas("xfs", "-q", "-s", "size=4096")},
	}
}

// plain is a directory where the tests' temporary ones are.
func plain(tb testing.TB) string {
	tb.Helper()
	return tb.TempDir()
}

// btrfsWith is a directory on a btrfs.
func btrfsWith(command uint64) func(testing.TB) string {
	return func(tb testing.TB) string {
		tb.Helper()
		return btrfsFileSystem(tb, command)
	}
}

// btrfsFileSystem mounts a new one, as an operator would, with quotas; with none for command 0.
func btrfsFileSystem(tb testing.TB, command uint64) string {
	tb.Helper()
	dir, err := fileSystem(tb, "btrfs", "commit=5", "--quiet")
	require.NoError(tb, err)
	if command != 0 {
		f, err := os.Open(dir)
		require.NoError(tb, err)
		defer f.Close()
		if err = enableQuota(f, command); command == quotaEnableSimple && errors.Is(err, unix.EINVAL) {
			tb.Skip("the kernel has no simple quotas:", err)
		}
		require.NoError(tb, err)
	}
	return filepath.Join(dir, "scratch")
}

func ext4WithProjectQuotas() func(testing.TB) string {
	return withProjectQuotas("ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota")
}

// withProjectQuotas is a directory on a file system with them. The test is skipped where the kernel has none.
func withProjectQuotas(fstype string, options ...string) func(testing.TB) string {
	return func(tb testing.TB) string {
		tb.Helper()
		dir, err := fileSystem(tb, fstype, "prjquota", options...)
		if err == nil {
			var flags string
			if flags, err = mountOptions(dir); err == nil && !strings.Contains(flags, "prjquota") {
				err = errors.New("prjquota was ignored")
			}
		}
		if err != nil {
			tb.Skip("no project quotas here:", err)
		}
		return filepath.Join(dir, "scratch")
	}
}

// fileSystem makes and mounts one.
func fileSystem(tb testing.TB, fstype, options string, mkfs ...string) (string, error) {
	tb.Helper()
	image, dir := filepath.Join(tb.TempDir(), "operators.img"), tb.TempDir()
	require.NoError(tb, os.WriteFile(image, nil, fileMode))
	require.NoError(tb, os.Truncate(image, imgSize))
	if err := run(tb.Context(), "mkfs."+fstype, append(mkfs, image)...); err != nil {
		return "", err
	}
	tb.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, mountImage(tb.Context(), image, dir, fstype, options, true)
}

// mountOptions are those of the file system that is mounted at a directory.
func mountOptions(dir string) (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[1] == dir {
			return fields[3], nil
		}
	}
	return "", errors.Join(err, errors.New("nothing is mounted"))
}

// forEach runs a test on each machine, in a store of its own.
func forEach(t *testing.T, test func(s *testStore)) {
	t.Helper()
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			test(newStore(t, v))
		})
	}
}

// testStore is a store that can be closed and opened again.
type testStore struct {
	Store
	tb      testing.TB
	options Options
}

func needRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("only root can mount")
	}
}

func newStore(tb testing.TB, v variant) *testStore {
	tb.Helper()
	needRoot(tb)
	s := &testStore{tb: tb, options: Options{Dir: v.dir(tb), Kind: v.kind, Size: imgSize, Instance: "test"}}
	s.open(tb)
	tb.Cleanup(func() { s.destroy(tb) })
	return s
}

func (s *testStore) open(tb testing.TB) {
	tb.Helper()
	var err error
	s.Store, err = Open(tb.Context(), s.options)
	require.NoError(tb, err)
}

// destroy removes all of it and looks at what is left.
func (s *testStore) destroy(tb testing.TB) {
	tb.Helper()
	ids, err := s.IDs(contextOf(tb))
	require.NoError(tb, err)
	for _, id := range ids {
		require.NoError(tb, s.Remove(contextOf(tb), id))
	}
	require.NoError(tb, s.Close())
	left, err := os.ReadDir(s.options.Dir)
	require.NoError(tb, err)
	require.Empty(tb, left, "an empty store leaves nothing")
	require.Empty(tb, loopsBeneath(tb, s.options.Dir))
}

func (s *testStore) make(tb testing.TB, id string) string {
	tb.Helper()
	dir, err := s.Make(contextOf(tb), id)
	require.NoError(tb, err)
	return dir
}

// loopsBeneath are the loop devices that have a file beneath the directory.
func loopsBeneath(tb testing.TB, dir string) []string {
	tb.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	require.NoError(tb, err)
	var found []string
	for _, file := range files {
		backing, err := trimmed(file)
		if err == nil && strings.HasPrefix(backing, dir+"/") {
			found = append(found, file+": "+backing)
		}
	}
	return found
}
