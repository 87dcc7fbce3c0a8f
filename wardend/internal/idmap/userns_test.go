package idmap_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

func needRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("user namespaces with mappings of others' ids take root")
	}
}

// mapped says what a process that enters the namespace sees as its uid_map.
func mapped(t *testing.T, namespace *os.File) string {
	t.Helper()
	cmd := exec.Command("nsenter", "--user=/proc/self/fd/3", "cat", "/proc/self/uid_map", "/proc/self/gid_map")
	cmd.ExtraFiles = []*os.File{namespace}
	out, err := cmd.Output()
	require.NoError(t, err)
	return strings.Join(strings.Fields(string(out)), " ")
}

// children are the numbers of all processes that this one has started and not reaped.
func children(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	for _, task := range tasks {
		list, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err == nil {
			all.Write(list)
		}
	}
	return all.String()
}

func open(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

func TestUserNamespaceMapsTheRange(t *testing.T) {
	needRoot(t)
	file, err := idmap.UserNamespace(idmap.Range{Host: 200000, Size: 65536})
	require.NoError(t, err)
	defer file.Close()
	require.Equal(t, "0 200000 65536 0 200000 65536", mapped(t, file))
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	require.NoError(t, err)
	require.Equal(t, unix.CLONE_NEWUSER, kind)
}

func TestUserNamespaceLeavesNothing(t *testing.T) {
	needRoot(t)
	children(t) // the Go runtime opens its poller's files for good at the first such read
	before := open(t)
	for i := range uint32(20) {
		file, err := idmap.UserNamespace(idmap.Range{Host: 100000 + i, Size: 10})
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	assert.Empty(t, children(t))
	assert.Equal(t, before, open(t))
	assert.NoFileExists(t, ran(), "the child must not run")
}

func TestUserNamespaceRefusesBadRanges(t *testing.T) {
	file, err := idmap.UserNamespace(idmap.Range{Host: 0, Size: 10})
	require.ErrorIs(t, err, idmap.ErrRange)
	require.Nil(t, file)
}

// TestUserNamespaceWithoutRoot has the kernel refuse the mapping, after the child was made.
func TestUserNamespaceWithoutRoot(t *testing.T) {
	needRoot(t)
	if os.Getenv("WARDEND_IDMAP_REFUSED") == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestUserNamespaceWithoutRoot$", "-test.v")
		cmd.Env = append(os.Environ(), "WARDEND_IDMAP_REFUSED=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS")
		return
	}
	// In this process alone: without CAP_SETUID nobody maps ids of others.
	done := make(chan error)
	try := func() error {
		go func() { done <- withoutCapability(unix.CAP_SETUID) }()
		return <-done
	}
	require.Error(t, try())
	children(t) // the Go runtime opens its poller's files for good at the first such read
	before := open(t)
	err := try()
	require.ErrorIs(t, err, unix.EPERM)
	assert.Contains(t, err.Error(), "user namespace")
	assert.Empty(t, children(t))
	assert.Equal(t, before, open(t))
}

// TestUserNamespaceBesideExec starts namespaces and programs at the same time:
// neither may take the other's exit status.
func TestUserNamespaceBesideExec(t *testing.T) {
	needRoot(t)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 10 {
				file, err := idmap.UserNamespace(idmap.Range{Host: 100000, Size: 65536})
				if assert.NoError(t, err) {
					file.Close()
				}
				var out bytes.Buffer
				cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("echo %d; exit %d", worker, i+1))
				cmd.Stdout = &out
				var exit *exec.ExitError
				if assert.ErrorAs(t, cmd.Run(), &exit) {
					assert.Equal(t, i+1, exit.ExitCode())
				}
				assert.Equal(t, fmt.Sprintf("%d\n", worker), out.String())
			}
		})
	}
	all.Wait()
	assert.Empty(t, children(t))
}

func BenchmarkUserNamespace(b *testing.B) {
	needRoot(b)
	for b.Loop() {
		file, err := idmap.UserNamespace(idmap.Range{Host: 100000, Size: 65536})
		require.NoError(b, err)
		file.Close()
	}
}
