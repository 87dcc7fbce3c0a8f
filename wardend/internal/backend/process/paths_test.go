package process

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/wardend/internal/backend"
)

func built(t *testing.T, mounts ...backend.Mount) (*container, error) {
	t.Helper()
	c := New(hclog.NewNullLogger(), nil).container(backend.Spec{Dir: t.TempDir()})
	return c, c.build(backend.Spec{Mounts: mounts})
}

func TestPathsStayInside(t *testing.T) {
	source := t.TempDir()
	c, err := built(t, backend.Mount{Source: source, Target: "/mnt/in"})
	require.NoError(t, err)
	for name, target := range map[string]string{
		"abs": "/etc", "up": "../../../../../../etc", "loop": "loop", "host": filepath.Join(c.root, "tmp"),
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(c.root, name)))
	}
	require.NoError(t, os.Symlink("/etc", filepath.Join(source, "abs")))
	for path, want := range map[string]string{
		"":                    c.root,
		"/../../x":            c.root + "/x",
		"abs/passwd":          c.root + "/etc/passwd",
		"/up/passwd":          c.root + "/etc/passwd",
		"/tmp/../../../root":  c.root + "/root",
		"/host/x":             c.root + "/tmp/x",
		"/mnt/in/x":           source + "/x",
		"/mnt/in/../../tmp/x": c.root + "/tmp/x",
		"/mnt/in/../out":      c.root + "/mnt/out",
		"/mnt/in/abs/passwd":  c.root + "/etc/passwd",
	} {
		got, err := c.paths.resolve(path, true)
		require.NoError(t, err, path)
		require.Equal(t, want, got, path)
	}
	_, err = c.paths.resolve("/loop/x", true)
	require.ErrorIs(t, err, errTooManyLinks)
}

func TestMountPoints(t *testing.T) {
	source := t.TempDir()
	for target, want := range map[string]string{
		"/a": "a", "a": "a", "/a/.": "a", "/a/b/..": "a", "/../a": "a", "/home/vcap/": "home/vcap", "/tmp": "tmp",
	} {
		c, err := built(t, backend.Mount{Source: source, Target: target})
		require.NoError(t, err, target)
		got, err := os.Readlink(filepath.Join(c.root, want))
		require.NoError(t, err, target)
		require.Equal(t, source, got)
	}
	for _, target := range []string{"", "/", "..", "/a/.."} {
		_, err := built(t, backend.Mount{Source: source, Target: target})
		require.ErrorIs(t, err, errRootMount, target)
	}
	_, err := built(t, backend.Mount{Source: "relative", Target: "/a"})
	require.ErrorContains(t, err, "not absolute")
	_, err = built(t, backend.Mount{Source: source, Target: "/a"}, backend.Mount{Source: source, Target: "/a/b"})
	require.ErrorContains(t, err, "within another bind mount")
}
