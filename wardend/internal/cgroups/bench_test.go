package cgroups

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkLife is what a container costs: made, limited, watched, joined and removed.
func BenchmarkLife(b *testing.B) {
	m := newManager(b)
	for i := 0; b.Loop(); i++ {
		id := strconv.Itoa(i)
		g, err := m.Create(id)
		require.NoError(b, err)
		limit(b, g)
		require.NoError(b, g.WatchOOM(b.Context(), func() {}))
		files, err := g.JoinFiles()
		require.NoError(b, err)
		require.NoError(b, closeAll(files))
		require.NoError(b, m.Remove(b.Context(), id))
	}
}

func limit(b *testing.B, g *Group) {
	b.Helper()
	require.NoError(b, g.SetMemory(64*mib))
	require.NoError(b, g.SetCPUShares(512))
	require.NoError(b, g.SetPids(512))
}

func BenchmarkCreateRemove(b *testing.B) {
	m := newManager(b)
	for i := 0; b.Loop(); i++ {
		id := strconv.Itoa(i)
		_, err := m.Create(id)
		require.NoError(b, err)
		require.NoError(b, m.Remove(b.Context(), id))
	}
}

func BenchmarkLimits(b *testing.B) {
	g := newGroup(b, newManager(b), "a")
	for b.Loop() {
		limit(b, g)
	}
}

// BenchmarkStats is what an Info reads.
func BenchmarkStats(b *testing.B) {
	g := newGroup(b, newManager(b), "a")
	for b.Loop() {
		_, err := g.Memory()
		require.NoError(b, err)
		_, err = g.CPU()
		require.NoError(b, err)
		_, err = g.OOMKills()
		require.NoError(b, err)
	}
}
