package cgroups

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
)

// newUnified makes a manager of the machine's v2 mount, whether its controllers are there or v1's.
func newUnified(t *testing.T) *Manager {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes cgroups")
	}
	found, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	require.NoError(t, err)
	if len(found) == 0 {
		t.Skip("no cgroup2 mount here")
	}
	root := found[0].Mountpoint
	unified := layout{version: 2, roots: map[string]string{cpuacctController: root}, all: []string{root}}
	m, err := open(t.Context(), newInstance(), unified, hclog.NewNullLogger())
	require.NoError(t, err)
	t.Cleanup(func() { closeManager(t, m) })
	return m
}

// fromInit has a process in the container's other group, root of a user namespace, start a child in the group, and
// gives what they say.
func fromInit(t *testing.T, g *Group, how string) string {
	t.Helper()
	files, err := g.JoinFiles()
	require.NoError(t, err)
	require.Len(t, files, 2)
	p := start(t, how, userNamespace(files...))
	require.NoError(t, closeAll(files))
	init := filepath.Join(g.container(g.m.groups[0]), initName)
	require.NoError(t, makeDir(init))
	enter(t, init, p)
	p.begin(t)
	said, err := io.ReadAll(p.out)
	require.NoError(t, err)
	_ = p.Wait()
	return string(said)
}

func TestJoinV2(t *testing.T) {
	m := newUnified(t)
	g := newGroup(t, m, "a")
	app := "0::/wardend-" + m.instance + "/a/app\n"
	require.Contains(t, fromInit(t, g, "clone-v2"), "permission denied", "the kernel asks for the caller's permission")
	require.Contains(t, fromInit(t, g, "write-v2"), app, "the kernel asks for the opener's permission")
	require.NoError(t, g.Delegate(containerRoot, containerRoot))
	require.Contains(t, fromInit(t, g, "clone-v2"), app)
	require.NoError(t, g.Delegate(containerRoot, containerRoot), "twice")

	p := start(t, "spin 200", nil)
	enter(t, g.dir(m.groups[0]), p)
	before, err := g.CPU()
	require.NoError(t, err)
	p.begin(t)
	require.NoError(t, p.Wait())
	after, err := g.CPU()
	require.NoError(t, err)
	require.Greater(t, after.GetUsage(), before.GetUsage()+50_000_000)
}

func TestRemoveV2(t *testing.T) {
	m := newUnified(t)
	g := newGroup(t, m, "a")
	require.NoError(t, os.MkdirAll(filepath.Join(g.container(m.groups[0]), initName, "nested"), 0o700))
	p := start(t, "wait", nil)
	enter(t, g.dir(m.groups[0]), p)
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Process.Pid), "cgroup"))
	require.NoError(t, err)
	require.Contains(t, string(raw), m.instance)
	removed := make(chan error)
	go func() { removed <- m.Remove(within(t, soon), "a") }()
	p.end()
	require.NoError(t, <-removed)
	require.NoDirExists(t, g.container(m.groups[0]))
}
