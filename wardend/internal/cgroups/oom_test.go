package cgroups

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const soon, often = 10 * time.Second, 5 * time.Millisecond

// watched counts the calls for a group.
func watched(t *testing.T, ctx context.Context, g *Group) *atomic.Int64 { //nolint:revive // the test comes first
	t.Helper()
	var calls atomic.Int64
	require.NoError(t, g.WatchOOM(ctx, func() { calls.Add(1) }))
	return &calls
}

// starve has a process of the group killed for want of memory.
func starve(t *testing.T, g *Group) {
	t.Helper()
	p := into(t, g, "use "+strconv.Itoa(64*mib))
	require.Error(t, p.Wait())
	require.Contains(t, p.ProcessState.String(), "killed")
}

func kills(t *testing.T, g *Group) uint64 {
	t.Helper()
	n, err := g.OOMKills()
	require.NoError(t, err)
	return n
}

func TestOutOfMemory(t *testing.T) {
	m := newManager(t)
	g, other := newGroup(t, m, "a"), newGroup(t, m, "b")
	require.NoError(t, g.SetMemory(16*mib))
	require.NoError(t, other.SetMemory(256*mib))
	starve(t, g)
	require.EqualValues(t, 1, kills(t, g), "while nobody watched")

	calls, silent := watched(t, t.Context(), g), watched(t, t.Context(), other)
	require.Equal(t, "used 67108864\n", into(t, other, "use "+strconv.Itoa(64*mib)).line(t))
	for i := range 3 {
		starve(t, g)
		require.Eventually(t, func() bool { return calls.Load() == int64(i+1) }, soon, often)
		require.EqualValues(t, i+2, kills(t, g))
	}
	require.Zero(t, silent.Load())
	require.Zero(t, kills(t, other))

	// The next wardend.
	again, err := Open(t.Context(), m.instance, hclog.NewNullLogger())
	require.NoError(t, err)
	defer again.Close()
	found, err := again.Open("a")
	require.NoError(t, err)
	require.EqualValues(t, 4, kills(t, found))
	calls2 := watched(t, t.Context(), found)
	starve(t, g)
	require.Eventually(t, func() bool { return calls.Load() == 4 && calls2.Load() == 1 }, soon, often)

	calls3 := watched(t, t.Context(), g)
	starve(t, g)
	require.Eventually(t, func() bool { return calls3.Load() == 1 && calls2.Load() == 2 }, soon, often)
	require.EqualValues(t, 4, calls.Load(), "the watch before was replaced")
}

func TestSeveralKillsAtOnce(t *testing.T) {
	m := newManager(t)
	var all []*atomic.Int64
	var starved []*process
	for i := range 4 {
		g := newGroup(t, m, fmt.Sprint("c", i))
		require.NoError(t, g.SetMemory(24*mib))
		all = append(all, watched(t, t.Context(), g))
		for range 2 {
			starved = append(starved, into(t, g, "use "+strconv.Itoa(64*mib)))
		}
	}
	for _, p := range starved {
		require.Error(t, p.Wait())
	}
	for _, calls := range all {
		require.Eventually(t, func() bool { return calls.Load() == 2 }, soon, often)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestWatchesLeaveNothing(t *testing.T) {
	const n = 200
	m := newManager(t)
	_ = watched(t, t.Context(), newGroup(t, m, "first")) // the manager's own descriptors are opened with it
	before := descriptors(t)
	ctx, cancel := context.WithCancel(t.Context())
	for i := range n {
		_ = watched(t, ctx, newGroup(t, m, strconv.Itoa(i)))
		_ = watched(t, ctx, newGroup(t, m, fmt.Sprint("r", i)))
	}
	require.LessOrEqual(t, descriptors(t), before+2*n)
	for i := range n {
		require.NoError(t, m.Remove(t.Context(), fmt.Sprint("r", i)))
	}
	require.LessOrEqual(t, descriptors(t), before+n, "removed")
	// Removed by somebody else.
	zero, err := m.Open("0")
	require.NoError(t, err)
	for _, root := range m.groups {
		require.NoError(t, unix.Rmdir(zero.dir(root)))
	}
	if m.Version() == 1 {
		require.Eventually(t, func() bool { return descriptors(t) < before+n }, soon, often)
	}
	cancel()
	require.Eventually(t, func() bool { return descriptors(t) == before }, soon, often, "the context has ended")
	m.oom.mu.Lock()
	require.Len(t, m.oom.watches, 1)
	require.Len(t, m.oom.keys, 1)
	m.oom.mu.Unlock()

	g := newGroup(t, m, "last")
	require.ErrorIs(t, g.WatchOOM(ctx, func() {}), context.Canceled)
	require.NoError(t, m.Remove(t.Context(), "last"))
	require.ErrorIs(t, g.WatchOOM(t.Context(), func() {}), os.ErrNotExist)
	require.NoError(t, m.Close())
	require.ErrorIs(t, g.WatchOOM(t.Context(), func() {}), ErrClosed)
}

// TestCloseIsNoFailure: who reads the log is told that kills are not noticed only when that is an error.
func TestCloseIsNoFailure(t *testing.T) {
	m := newManager(t)
	var log bytes.Buffer
	m.oom.log = hclog.New(&hclog.LoggerOptions{Output: &log})
	_ = watched(t, t.Context(), newGroup(t, m, "a"))
	require.NoError(t, m.Close())
	require.Empty(t, log.String())
}

// TestKillsOfV2 has a plain file for a group's memory.events: inotify tells of its changes as well.
func TestKillsOfV2(t *testing.T) {
	m := fakeV2(t)
	events := func(g *Group, kills int) {
		files(t, g.dir(m.groups[0]), map[string]string{
			"memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill " + strconv.Itoa(kills) + "\noom_group_kill 0\n",
		})
	}
	g, other := newGroup(t, m, "a"), newGroup(t, m, "b")
	events(g, 1)
	events(other, 0)
	calls, silent := watched(t, t.Context(), g), watched(t, t.Context(), other)
	require.EqualValues(t, 1, kills(t, g))
	events(g, 3)
	require.Eventually(t, func() bool { return calls.Load() == 2 }, soon, often)
	require.Zero(t, silent.Load())
	m.oom.mu.Lock()
	m.oom.unsettleLocked(everyKey)
	require.Len(t, m.oom.unsettled, 2, "some events were lost")
	m.oom.mu.Unlock()

	require.NoError(t, os.RemoveAll(g.container(m.groups[0])))
	require.Eventually(t, func() bool {
		m.oom.mu.Lock()
		defer m.oom.mu.Unlock()
		return len(m.oom.watches) == 1
	}, soon, often, "the kernel says that it has gone")
	m.oom.forget("b")
	require.Empty(t, m.oom.watches)
}

// fakeV2 is a manager of plain directories that look like a v2 hierarchy.
func fakeV2(t *testing.T) *Manager {
	t.Helper()
	root := t.TempDir()
	instance := filepath.Join(root, "wardend-fake")
	files(t, root, map[string]string{"cgroup.controllers": "cpu memory pids\n", subtreeControl: ""})
	files(t, instance, map[string]string{subtreeControl: "", "cpu.weight": "100\n"})
	found, err := findControllers(root, []string{root})
	require.NoError(t, err)
	m, err := open(t.Context(), "fake", found, hclog.NewNullLogger())
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.oom.close() })
	for _, id := range []string{"a", "b"} {
		files(t, filepath.Join(instance, id), map[string]string{subtreeControl: "", "cpu.weight": "100\n"})
	}
	return m
}

func TestControllersOfV2(t *testing.T) {
	m := fakeV2(t)
	require.Equal(t, 2, m.Version())
	root := m.groups[0]
	g := newGroup(t, m, "a")
	handed, err := read(filepath.Join(g.container(root), subtreeControl))
	require.NoError(t, err)
	require.Equal(t, "+cpu +memory +pids", handed)
	require.NoError(t, g.SetCPUShares(2048))
	weight, err := read(filepath.Join(g.container(root), "cpu.weight"))
	require.NoError(t, err)
	require.Equal(t, "174", strings.TrimSpace(weight))

	var said strings.Builder
	log := hclog.New(&hclog.LoggerOptions{Output: &said})
	require.NoError(t, os.Remove(filepath.Join(root, subtreeControl)))
	found, err := findControllers(root, []string{root})
	require.NoError(t, err)
	without, err := open(t.Context(), "fake", found, log)
	require.NoError(t, err)
	defer without.oom.close()
	require.Equal(t, 1, strings.Count(said.String(), "controller=memory effect"))
	require.Contains(t, said.String(), "the kernel refuses it")
	bare := newGroup(t, without, "b")
	require.NoError(t, bare.SetMemory(mib))
	require.NoError(t, bare.SetPids(1))
	require.NoError(t, bare.SetCPUShares(2))
	require.NoError(t, bare.WatchOOM(t.Context(), func() {}))
	require.Zero(t, kills(t, bare))
	stat, err := bare.Memory()
	require.NoError(t, err)
	require.Nil(t, stat)
}

func TestMemoryLimitOfV2(t *testing.T) {
	dir := t.TempDir()
	state := func(name string) string {
		raw, err := read(filepath.Join(dir, name))
		require.NoError(t, err)
		return raw
	}
	files(t, dir, map[string]string{"memory.current": "1000\n", "memory.max": "max", "memory.swap.max": "max", "memory.reclaim": ""})
	require.NoError(t, setMemoryV2(dir, 4096))
	require.Equal(t, "4096", state("memory.max")[:4])
	require.Equal(t, "0", state("memory.swap.max")[:1])
	err := setMemoryV2(dir, 100)
	var inUse *MemoryInUseError
	require.ErrorAs(t, err, &inUse, "nothing reclaims here")
	require.EqualValues(t, 1000, inUse.Usage)
	require.Equal(t, "900", state("memory.reclaim"))
	require.Equal(t, "4096", state("memory.max")[:4], "the old limit holds: v2 would kill")
	files(t, dir, map[string]string{"memory.max": "", "memory.swap.max": ""})
	require.NoError(t, setMemoryV2(dir, 1<<63))
	require.Equal(t, "max", state("memory.max"))
	require.Equal(t, "max", state("memory.swap.max"))
	require.NoError(t, os.Remove(filepath.Join(dir, "memory.swap.max")))
	require.NoError(t, setMemoryV2(dir, 4096), "swap is not counted")
}
