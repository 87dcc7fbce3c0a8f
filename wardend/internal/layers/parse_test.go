package layers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b c", "d,e"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("none", filepath.Join(dir, "dangling")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	at := func(names ...string) string {
		for i, name := range names {
			names[i] = filepath.Join(dir, name)
		}
		return strings.Join(names, ":")
	}
	got, err := Parse(at("a"))
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(dir, "a")}, got)
	got, err = Parse(at("b c", "d,e", "link") + "/")
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(dir, "b c"), filepath.Join(dir, "d,e"), filepath.Join(dir, "link")}, got)
	got, err = Parse("/")
	require.NoError(t, err)
	assert.Equal(t, []string{"/"}, got)

	for _, bad := range []string{"", ":", "a", ".", at("none"), at("file"), at("dangling"), at("a", "file"), at("a") + ":", ":" + at("a"), at("a") + "::" + at("link"), at("a") + ":b", "/nul\x00"} {
		_, err := Parse(bad)
		require.EqualError(t, err, "rootfs "+bad+" not found")
		var notFound *NotFoundError
		require.ErrorAs(t, err, &notFound)
		assert.Equal(t, bad, notFound.Rootfs)
		require.Error(t, notFound.Err)
	}
	_, err = Parse(strings.Repeat("/:", MaxLayers) + "/")
	require.ErrorContains(t, err, "65 layers")
}
