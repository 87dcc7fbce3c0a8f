package idmap_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

func TestRangeToHost(t *testing.T) {
	r := idmap.Range{Host: 100000, Size: 65536}
	for id, want := range map[uint32]uint32{0: 100000, 1000: 101000, 65535: 165535} {
		got, ok := r.ToHost(id)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	for _, id := range []uint32{65536, math.MaxUint32} {
		_, ok := r.ToHost(id)
		require.False(t, ok, id)
	}
	_, ok := idmap.Range{Host: math.MaxUint32, Size: 2}.ToHost(1)
	require.False(t, ok, "no wrapping around to the machine's root")
	_, ok = idmap.Range{}.ToHost(0)
	require.False(t, ok, "the zero range maps nothing")
}

func TestRangeValidate(t *testing.T) {
	for _, r := range []idmap.Range{{Host: 1, Size: 1}, {Host: 100000, Size: 65536}, {Host: math.MaxUint32 - 1, Size: 1}} {
		require.NoError(t, r.Validate(), r)
	}
	for _, r := range []idmap.Range{{}, {Host: 1}, {Size: 1}, {Host: math.MaxUint32, Size: 1}, {Host: math.MaxUint32 - 1, Size: 2}, {Host: math.MaxUint32, Size: math.MaxUint32}} {
		require.ErrorIs(t, r.Validate(), idmap.ErrRange, r)
	}
}
