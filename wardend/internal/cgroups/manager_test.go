package cgroups

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestNames(t *testing.T) {
	n := newNames()
	for id, dir := range map[string]string{
		"17qm5lkc0fg": "17qm5lkc0fg", "App.1": "App.1", "a-b_c": "a-b_c", "_" + strings.Repeat("0a", 20): "_" + strings.Repeat("0a", 20),
		"tasks": "_tasks", "_tasks": "__tasks", "memory.max": "_memory.max", "app.1": "_app.1", "__app.1": "___app.1",
		"release_agent": "_release_agent", ".x": ".x", "_": "_", "-": "-", "tasks2": "tasks2",
	} {
		got, err := n.dir(id)
		require.NoError(t, err, id)
		require.Equal(t, dir, got)
		back, ours := n.fromDir(dir)
		require.True(t, ours, dir)
		require.Equal(t, id, back)
	}
	for _, id := range []string{"", ".", "..", "a/b", "ä", strings.Repeat("x", 81), "a\x00"} {
		_, err := n.dir(id)
		require.ErrorIs(t, err, ErrName, "%q", id)
	}
	for _, dir := range []string{"tasks", "memory.max", ".."} {
		_, ours := n.fromDir(dir)
		require.False(t, ours, dir)
	}
	for _, instance := range []string{"", "A", "123456789", "a/b", ".."} {
		require.ErrorIs(t, n.checkInstance(instance), ErrName, instance)
	}
}

func mounts(t *testing.T, file string) []*mountinfo.Info {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	found, err := mountinfo.GetMountsFromReader(f, mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	require.NoError(t, err)
	return found
}

func TestLayouts(t *testing.T) {
	hybrid, err := findLayout(mounts(t, "mountinfo-hybrid"))
	require.NoError(t, err)
	require.Equal(t, 1, hybrid.version)
	require.Equal(t, map[string]string{
		"memory": "/sys/fs/cgroup/memory", "cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "pids": "/sys/fs/cgroup/pids",
	}, hybrid.roots)
	require.Equal(t, []string{"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"}, hybrid.own(), "one mount once")
	require.Contains(t, hybrid.all, "/sys/fs/cgroup/unified")
	require.Contains(t, hybrid.all, "/sys/fs/cgroup/systemd")
	require.NotContains(t, hybrid.all, "/mnt/memory", "a second mount of the same hierarchy")
	require.Len(t, hybrid.all, 8)

	_, err = findLayout(nil)
	require.ErrorIs(t, err, ErrNone)

	root := t.TempDir()
	v2 := []*mountinfo.Info{{FSType: "cgroup2", Mountpoint: root, VFSOptions: "rw,nsdelegate"}}
	_, err = findLayout(v2)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("\n"), 0o600))
	_, err = findLayout(v2)
	require.ErrorIs(t, err, ErrNone, "a v2 mount without controllers, and no v1")
	require.NoError(t, os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpuset cpu io memory hugetlb pids rdma misc\n"), 0o600))
	unified, err := findLayout(v2)
	require.NoError(t, err)
	require.Equal(t, 2, unified.version)
	require.Equal(t, []string{root}, unified.own())
	require.Len(t, unified.roots, 4)
}

func TestTwoInstancesSideBySide(t *testing.T) {
	one, two := newManager(t), newManager(t)
	require.Equal(t, "/wardend-"+one.instance+"/a/init", one.RuntimePath("a"))
	require.Equal(t, "/wardend-"+one.instance+"/_tasks/init", one.RuntimePath("tasks"))
	require.Empty(t, one.RuntimePath("../x"))
	for _, id := range []string{"a", "tasks", "cgroup.procs"} {
		newGroup(t, one, id)
		newGroup(t, two, id)
	}
	require.NoError(t, one.Remove(t.Context(), "tasks"))
	ids, err := one.IDs()
	require.NoError(t, err)
	require.Equal(t, []string{"a", "cgroup.procs"}, ids)
	ids, err = two.IDs()
	require.NoError(t, err)
	require.Equal(t, []string{"a", "cgroup.procs", "tasks"}, ids)

	require.NoError(t, one.Close(), "with containers")
	again, err := Open(t.Context(), one.instance, hclog.NewNullLogger())
	require.NoError(t, err)
	_, err = again.Open("a")
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.NoError(t, again.Close(), "twice")
}

func TestHalfMadeGroups(t *testing.T) {
	m := newManager(t)
	_, err := m.Open("a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	// A create that was killed in the middle, and the runtime's groups.
	last := m.groups[len(m.groups)-1]
	g := &Group{m: m, id: "a", name: "a"}
	require.NoError(t, os.MkdirAll(g.dir(last), 0o700))
	for _, root := range m.all {
		if !strings.HasSuffix(root, "cpuset") {
			require.NoError(t, os.MkdirAll(filepath.Join(g.container(root), initName, "nested", "more"), 0o700))
		}
	}
	_, err = m.Open("a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = m.Create("a")
	require.ErrorIs(t, err, fs.ErrExist)
	require.NoDirExists(t, g.dir(m.groups[0]), "a create that fails leaves nothing")
	require.DirExists(t, filepath.Join(g.container(m.groups[0]), initName), "and takes nothing")
	ids, err := m.IDs()
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, ids)
	require.NoError(t, m.Remove(t.Context(), "a"))
	for _, root := range m.all {
		require.NoDirExists(t, g.container(root))
	}
	require.NoError(t, m.Remove(t.Context(), "a"), "twice")
	newGroup(t, m, "a")
	_, err = m.Create("a")
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = m.Open("a")
	require.NoError(t, err)
}

func TestRemoveWithAProcess(t *testing.T) {
	m := newManager(t)
	g := newGroup(t, m, "a")
	p := into(t, g, "wait")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := m.Remove(ctx, "a")
	var busy *InUseError
	require.ErrorAs(t, err, &busy)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, busy.Processes, 1)
	require.Equal(t, p.Process.Pid, busy.Processes[0].PID)
	require.NotEmpty(t, busy.Processes[0].Command)
	require.Contains(t, err.Error(), busy.Processes[0].Command)
	require.Len(t, busy.Dirs, len(m.groups), "the others are removed")

	removed := make(chan error)
	go func() { removed <- m.Remove(within(t, 10*time.Second), "a") }()
	p.end()
	require.NoError(t, <-removed)
	ids, err := m.IDs()
	require.NoError(t, err)
	require.Empty(t, ids)
}

// userNamespace makes a helper the root of a user namespace, as a container's process 1 is.
func userNamespace(files ...*os.File) func(*exec.Cmd) {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: containerRoot, Size: 65536}}
	return func(cmd *exec.Cmd) {
		cmd.ExtraFiles = files
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Credential: &syscall.Credential{},
		}
	}
}

const containerRoot = 7_000_000

func TestJoinFromAUserNamespace(t *testing.T) {
	m := newManager(t)
	if m.Version() != 1 {
		t.Skip("not v1")
	}
	g := newGroup(t, m, "a")
	files, err := g.JoinFiles()
	require.NoError(t, err)
	require.Len(t, files, len(m.groups))
	p := start(t, "join-v1 "+string(rune('0'+len(files))), userNamespace(files...))
	require.NoError(t, closeAll(files))
	p.begin(t)
	var child, self strings.Builder
	into := &child
	for line, err := p.out.ReadString('\n'); err == nil; line, err = p.out.ReadString('\n') {
		if line == "--\n" {
			into = &self
		} else {
			into.WriteString(line)
		}
	}
	for _, controller := range []string{"memory", "cpu", "cpuacct", "pids"} {
		if m.roots[controller] != "" {
			assert.Equal(t, "/wardend-"+m.instance+"/a/app", groupOf(child.String(), controller), child.String())
			assert.NotContains(t, groupOf(self.String(), controller), m.instance, "the main thread stays")
		}
	}
}

// groupOf finds a controller's line in /proc/<pid>/cgroup.
func groupOf(raw, controller string) string {
	for line := range strings.Lines(raw) {
		if words := strings.SplitN(strings.TrimSpace(line), ":", 3); len(words) == 3 {
			for _, name := range strings.Split(words[1], ",") {
				if name == controller {
					return words[2]
				}
			}
		}
	}
	return ""
}
