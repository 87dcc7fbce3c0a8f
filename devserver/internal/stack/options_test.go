package stack

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCarveGivesEveryNodeItsOwnNetwork(t *testing.T) {
	parts, err := carve("10.254.0.0/16", 64)
	require.NoError(t, err)
	require.Equal(t, netip.MustParsePrefix("10.254.0.0/22"), parts[0])
	require.Equal(t, netip.MustParsePrefix("10.254.252.0/22"), parts[63])
	for i, part := range parts {
		for _, other := range parts[:i] {
			require.False(t, part.Overlaps(other))
		}
	}
	_, err = carve("10.254.0.0/16", 65)
	require.ErrorContains(t, err, "no room")
	_, err = carve("fd00::/16", 1)
	require.ErrorContains(t, err, "IPv4")
}

func TestBuildpacksComeInTheOrderOfDetection(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"static", "procfile", "go", "mine"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name, "bin"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "bin", "detect"), nil, 0o700))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "no-buildpack"), 0o700))
	bin := t.TempDir()
	options := Options{Nodes: 1, Buildpacks: dir, Bin: bin}
	_, err := options.buildpacks()
	require.ErrorContains(t, err, "make build")
	require.NoError(t, os.WriteFile(filepath.Join(bin, "staticd"), nil, 0o700))
	sources, err := options.buildpacks()
	require.NoError(t, err)
	names := make([]string, 0, len(sources))
	for _, source := range sources {
		names = append(names, source.Name)
	}
	require.Equal(t, []string{"mine", "go", "procfile", "static"}, names)
	require.Equal(t, map[string]string{"bin/staticd": filepath.Join(bin, "staticd")}, sources[3].Extra)

	_, err = Options{Nodes: 1, Buildpacks: filepath.Join(dir, "nowhere")}.buildpacks()
	require.ErrorContains(t, err, "--buildpacks")
}

func TestResourcesAreTheMachinesDivided(t *testing.T) {
	memory, disk, err := Options{Nodes: 1}.resources(t.TempDir())
	require.NoError(t, err)
	require.GreaterOrEqual(t, memory, int64(leastMemoryMB))
	require.Positive(t, disk)
	_, half, err := Options{Nodes: 2}.resources(t.TempDir())
	require.NoError(t, err)
	require.InDelta(t, disk/2, half, float64(disk)/20)
	memory, disk, err = Options{Nodes: 4, MemoryMB: 123, DiskMB: 456}.resources(t.TempDir())
	require.NoError(t, err)
	require.Equal(t, []int64{123, 456}, []int64{memory, disk})
}
