package cgroups

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
)

func TestStatsRise(t *testing.T) {
	m := onlyV1(t)
	g, idle := newGroup(t, m, "a"), newGroup(t, m, "idle")
	require.NoError(t, g.SetMemory(128*mib))
	p := into(t, g, "use "+strconv.Itoa(32*mib))
	p.line(t)
	stat, err := g.Memory()
	require.NoError(t, err)
	require.Greater(t, stat.GetRss(), uint64(32*mib))
	require.Equal(t, stat.GetRss(), stat.GetTotalRss())
	require.Positive(t, stat.GetPgfault())
	require.Positive(t, stat.GetTotalPgpgin())
	require.EqualValues(t, 128*mib, stat.GetHierarchicalMemoryLimit())
	all := stat.ProtoReflect().Descriptor().Fields()
	for i := range all.Len() {
		if all.Get(i).Name() == "hierarchical_memsw_limit" || all.Get(i).Name() == "swap" || all.Get(i).Name() == "total_swap" {
			continue // only where the kernel counts swap
		}
		require.True(t, stat.ProtoReflect().Has(all.Get(i)), all.Get(i).Name())
	}

	before, err := g.CPU()
	require.NoError(t, err)
	require.NoError(t, into(t, g, "spin 300").Wait())
	after, err := g.CPU()
	require.NoError(t, err)
	require.Greater(t, after.GetUsage()-before.GetUsage(), uint64(50_000_000), "nanoseconds")
	require.Greater(t, after.GetUser()+after.GetSystem(), before.GetUser()+before.GetSystem()+5-1, "ticks")

	nothing, err := idle.CPU()
	require.NoError(t, err)
	require.Zero(t, nothing.GetUsage())
	none, err := idle.Memory()
	require.NoError(t, err)
	require.Zero(t, none.GetRss())
	require.EqualValues(t, backend.UnlimitedMemory, none.GetHierarchicalMemoryLimit())
}

// files makes a directory look like a cgroup.
func files(t *testing.T, dir string, contents map[string]string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	for name, text := range contents {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
}

func recorded(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(raw)
}

// number is a line of a recorded file.
func number(t *testing.T, name, key string) uint64 {
	t.Helper()
	n, found, err := findNumber(filepath.Join("testdata", name), key)
	require.NoError(t, err)
	require.True(t, found, key)
	return n
}

func TestMemoryOfV2(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "wardend-x", "a", "app")
	files(t, filepath.Join(root, "wardend-x"), map[string]string{"memory.max": "1073741824\n", "memory.swap.max": "max\n"})
	files(t, filepath.Dir(dir), map[string]string{"memory.max": "max\n", "memory.swap.max": "max\n"})
	files(t, dir, map[string]string{
		"memory.stat": recorded(t, "v2-memory.stat"), "memory.max": "2147483648\n", "memory.swap.max": "0\n", "memory.swap.current": "4096\n",
	})
	stat, err := memoryV2(dir, root)
	require.NoError(t, err)
	for field, key := range map[string]string{
		"cache": "file", "rss": "anon", "mapped_file": "file_mapped", "pgfault": "pgfault", "pgmajfault": "pgmajfault",
		"inactive_anon": "inactive_anon", "active_anon": "active_anon", "inactive_file": "inactive_file", "active_file": "active_file",
		"unevictable": "unevictable",
	} {
		require.Equal(t, number(t, "v2-memory.stat", key), fieldOf(t, stat, field), field)
		require.Equal(t, number(t, "v2-memory.stat", key), fieldOf(t, stat, "total_"+field), field)
	}
	require.EqualValues(t, 4096, stat.GetSwap())
	require.EqualValues(t, 4096, stat.GetTotalSwap())
	require.EqualValues(t, 1<<30, stat.GetHierarchicalMemoryLimit(), "the least on the way up")
	require.EqualValues(t, 1<<30, stat.GetHierarchicalMemswLimit())
	require.Nil(t, stat.Pgpgin)
	require.Nil(t, stat.TotalPgpgout)

	files(t, filepath.Join(root, "wardend-x"), map[string]string{"memory.max": "max\n"})
	files(t, dir, map[string]string{"memory.max": "max\n", "memory.swap.max": "max\n"})
	stat, err = memoryV2(dir, root)
	require.NoError(t, err)
	require.EqualValues(t, backend.UnlimitedMemory, stat.GetHierarchicalMemoryLimit())
	require.EqualValues(t, backend.UnlimitedMemory, stat.GetHierarchicalMemswLimit(), "no overflow")

	require.NoError(t, os.Remove(filepath.Join(dir, "memory.swap.current")))
	stat, err = memoryV2(dir, root)
	require.NoError(t, err)
	require.Nil(t, stat.Swap, "swap is not counted")
	require.Nil(t, stat.HierarchicalMemswLimit)
	files(t, dir, map[string]string{"memory.max": "garbage\n"})
	_, err = memoryV2(dir, root)
	require.Error(t, err)
}

func fieldOf(t *testing.T, stat *wardenpb.InfoResponse_MemoryStat, name string) uint64 {
	t.Helper()
	field := stat.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(name))
	require.NotNil(t, field, name)
	require.True(t, stat.ProtoReflect().Has(field), name)
	return stat.ProtoReflect().Get(field).Uint()
}

func TestCPUOfV2(t *testing.T) {
	dir := t.TempDir()
	files(t, dir, map[string]string{"cpu.stat": recorded(t, "v2-cpu.stat")})
	stat, err := cpuV2(dir)
	require.NoError(t, err)
	require.Equal(t, number(t, "v2-cpu.stat", "usage_usec")*1000, stat.GetUsage())
	require.Equal(t, number(t, "v2-cpu.stat", "user_usec")/10000, stat.GetUser())
	require.Equal(t, number(t, "v2-cpu.stat", "system_usec")/10000, stat.GetSystem())
	_, err = cpuV2(filepath.Join(dir, "gone"))
	require.Error(t, err)
}

func TestLargeFilesAreReadWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	text := make([]byte, 3*readSize+1)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	raw, err := read(path)
	require.NoError(t, err)
	require.Len(t, raw, len(text))
	_, err = readNumber(path, 0)
	require.Error(t, err)
}
