package benchmark

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestPeakOfMemory(t *testing.T) {
	const size = 64 << 20
	page := os.Getpagesize()
	block, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	for i := 0; i < size; i += page {
		block[i] = 1
	}
	require.NoError(t, unix.Munmap(block))

	high, err := MemoryOf(os.Getpid())
	require.NoError(t, err)
	assert.Greater(t, high.Peak, high.Now+size>>21)
	require.NoError(t, ForgetPeak(os.Getpid()))
	low, err := MemoryOf(os.Getpid())
	require.NoError(t, err)
	assert.Less(t, low.Peak, high.Peak-size>>21)
	assert.Positive(t, low.Now)

	share, err := ShareOf(os.Getpid())
	require.NoError(t, err)
	assert.Positive(t, share)
	assert.Less(t, share, high.Peak)

	_, err = MemoryOf(1 << 30)
	require.Error(t, err)
	_, err = ShareOf(1 << 30)
	require.Error(t, err)
}
