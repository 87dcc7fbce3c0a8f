package cgroups

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/backend"
)

const mib = 1 << 20

func onlyV1(t *testing.T) *Manager {
	t.Helper()
	m := newManager(t)
	if m.Version() != 1 {
		t.Skip("not v1")
	}
	return m
}

func TestMemoryLimit(t *testing.T) {
	g := newGroup(t, onlyV1(t), "a")
	limits := func() (string, string) {
		memsw, err := os.ReadFile(filepath.Join(g.dir(g.m.roots[memoryController]), "memory.memsw.limit_in_bytes"))
		if errors.Is(err, os.ErrNotExist) {
			memsw = []byte(content(t, g, memoryController, "memory.limit_in_bytes") + "\n")
		}
		return content(t, g, memoryController, "memory.limit_in_bytes"), string(memsw[:len(memsw)-1])
	}
	for _, bytes := range []uint64{64 * mib, 128 * mib, 32 * mib, 32 * mib, backend.UnlimitedMemory, 16 * mib, backend.UnlimitedMemory + 4096} {
		require.NoError(t, g.SetMemory(bytes))
		want := strconv.FormatUint(min(bytes, backend.UnlimitedMemory), 10)
		memory, memsw := limits()
		require.Equal(t, want, memory)
		require.Equal(t, want, memsw)
	}
	require.Contains(t, content(t, g, memoryController, "memory.oom_control"), "oom_kill_disable 0")
}

func TestMemoryLimitBelowUse(t *testing.T) {
	g := newGroup(t, onlyV1(t), "a")
	require.NoError(t, g.SetMemory(256*mib))
	p := into(t, g, "use "+strconv.Itoa(64*mib))
	require.Equal(t, "used 67108864\n", p.line(t))

	err := g.SetMemory(16 * mib)
	var inUse *MemoryInUseError
	require.ErrorAs(t, err, &inUse)
	require.EqualValues(t, 16*mib, inUse.Limit)
	require.Greater(t, inUse.Usage, uint64(64*mib))
	require.ErrorIs(t, err, unix.EBUSY)
	require.Equal(t, strconv.Itoa(256*mib), content(t, g, memoryController, "memory.limit_in_bytes"), "the old limit holds")
	kills, err := g.OOMKills()
	require.NoError(t, err)
	require.Zero(t, kills)
	p.end()
	require.NoError(t, g.SetMemory(16*mib), "freed")
}

func TestMemoryLimitReclaims(t *testing.T) {
	g := newGroup(t, onlyV1(t), "a")
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	require.NoError(t, err)
	_, err = io.CopyN(f, zeros{}, 64*mib)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	require.NoError(t, f.Close())
	p := into(t, g, "read "+path)
	require.Equal(t, "read 67108864\n", p.line(t))
	stat, err := g.Memory()
	require.NoError(t, err)
	if stat.GetCache() < 32*mib {
		t.Skip("this file system's pages are not charged to who reads them")
	}
	require.NoError(t, g.SetMemory(32*mib), "pages of files can be had back")
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestCPUShares(t *testing.T) {
	m := onlyV1(t)
	g := newGroup(t, m, "a")
	shares := func() string {
		raw, err := os.ReadFile(filepath.Join(g.container(m.roots[cpuController]), "cpu.shares"))
		require.NoError(t, err)
		return string(raw)
	}
	require.Equal(t, "1024\n", shares())
	for set, want := range map[uint64]string{0: "2\n", 2: "2\n", 512: "512\n", 262144: "262144\n", 1 << 40: "262144\n"} {
		require.NoError(t, g.SetCPUShares(set))
		require.Equal(t, want, shares())
	}
	raw, err := os.ReadFile(filepath.Join(m.parent(m.roots[cpuController]), "cpu.shares"))
	require.NoError(t, err)
	all, err := strconv.Atoi(string(raw[:len(raw)-1]))
	require.NoError(t, err)
	require.Positive(t, all)
	require.Zero(t, all%defaultShares, "a thread's weight for each CPU")
}

func TestWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 3: 2, 256: 35, 512: 59, 1024: 100, 2048: 174, 10240: 639, 262143: 10000, 262144: 10000} {
		assert.Equal(t, want, weight(shares), "%d", shares)
	}
	last := uint64(minWeight)
	for shares := range uint64(maxShares) {
		w := weight(shares)
		if w < last || w > maxWeight {
			t.Fatalf("%d shares weigh %d, fewer %d", shares, w, last)
		}
		last = w
	}
}

func TestPidsLimit(t *testing.T) {
	g := newGroup(t, newManager(t), "a")
	require.NoError(t, g.SetPids(40))
	require.Equal(t, "40", content(t, g, pidsController, "pids.max"))
	require.Contains(t, into(t, g, "fork 60").line(t), "refused after")
	require.NoError(t, g.SetPids(0))
	require.Equal(t, "max", content(t, g, pidsController, "pids.max"))
	require.Equal(t, "not refused\n", into(t, g, "fork 60").line(t))
}
