package diskuse

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThreshold(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none")
	for name, c := range map[string]struct {
		threshold Threshold
		exceeded  bool
	}{
		"none":            {Threshold{Dir: none}, false},
		"all of it":       {Threshold{Dir: dir, Blocks: 1, Inodes: 1}, false},
		"next to nothing": {Threshold{Dir: dir, Blocks: 1e-12}, true},
	} {
		exceeded, err := c.threshold.Exceeded()
		require.NoError(t, err, name)
		require.Equal(t, c.exceeded, exceeded, name)
	}
	_, err := Threshold{Dir: none, Inodes: 1}.Exceeded()
	require.ErrorContains(t, err, none)
}

func TestAbove(t *testing.T) {
	require.False(t, above(100, 20, 0.8))
	require.True(t, above(100, 19, 0.8))
	require.False(t, above(0, 0, 0.8), "it counts none")
	require.False(t, above(100, 120, 0.8), "more free than there is")
	require.False(t, above(100, 0, 0), "any")
}
