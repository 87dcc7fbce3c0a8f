package rmtree_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/rmtree"
)

// closed makes a directory that not even its owner may write to.
func closed(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(path, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(path, "sub", "file"), nil, 0o400))
	for _, dir := range []string{filepath.Join(path, "sub"), path} {
		require.NoError(t, os.Chmod(dir, 0o500))
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	all := []string{}
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func TestHideAndSweep(t *testing.T) {
	base := t.TempDir()
	parts := filepath.Join(base, "parts")
	require.NoError(t, rmtree.Sweep(t.Context(), parts), "it is not there")
	require.NoError(t, rmtree.Hide(filepath.Join(base, "none"), parts))
	require.NoDirExists(t, parts)
	for range 2 { // the second time beside what was not swept
		closed(t, filepath.Join(base, "thing"))
		require.NoError(t, rmtree.Hide(filepath.Join(base, "thing"), parts))
		require.NoDirExists(t, filepath.Join(base, "thing"))
	}
	outside := filepath.Join(base, "outside")
	require.NoError(t, os.WriteFile(outside, nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(base, "link")))
	require.NoError(t, rmtree.Hide(filepath.Join(base, "link"), parts))
	require.NoError(t, os.WriteFile(filepath.Join(parts, "other"), nil, 0o600))
	hidden := names(t, parts)
	require.Len(t, hidden, 4)
	for _, name := range hidden {
		require.Equal(t, name != "other", rmtree.Hidden(name), name)
	}

	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, rmtree.Sweep(over, parts), context.Canceled)
	require.Len(t, names(t, parts), 4)
	require.NoError(t, rmtree.Sweep(t.Context(), parts))
	require.Equal(t, []string{"other"}, names(t, parts))
	require.FileExists(t, outside)
}

func TestUntil(t *testing.T) {
	base := t.TempDir()
	tree := filepath.Join(base, "tree")
	closed(t, filepath.Join(tree, "closed"))
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "a", "b", "c"), 0o755))
	for n := range 600 {
		require.NoError(t, os.WriteFile(filepath.Join(tree, "a", "b", fmt.Sprint(n)), nil, 0o600))
	}
	outside := filepath.Join(base, "outside")
	require.NoError(t, os.MkdirAll(outside, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(outside, "file"), nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(tree, "link")))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, rmtree.Until(over, tree), context.Canceled)
	require.DirExists(t, filepath.Join(tree, "a", "b", "c"))
	require.NoError(t, rmtree.Until(t.Context(), tree))
	require.NoDirExists(t, tree)
	require.FileExists(t, filepath.Join(outside, "file"))

	link := filepath.Join(base, "link")
	require.NoError(t, os.Symlink(outside, link))
	require.NoError(t, rmtree.Until(t.Context(), link))
	require.NoFileExists(t, link)
	require.FileExists(t, filepath.Join(outside, "file"))
	require.NoError(t, rmtree.Until(t.Context(), link), "there is none")
}

// TestUntilEndsInTheMidst of a directory.
func TestUntilEndsInTheMidst(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.MkdirAll(tree, 0o755))
	for n := range 600 {
		require.NoError(t, os.WriteFile(filepath.Join(tree, fmt.Sprint(n)), nil, 0o600))
	}
	ctx := &counting{Context: t.Context(), left: 100}
	require.ErrorIs(t, rmtree.Until(ctx, tree), context.Canceled)
	require.Len(t, names(t, tree), 500)
}

// counting is a context that is over once it has been asked so often.
type counting struct {
	context.Context //nolint:containedctx // it is one
	left            int
}

func (c *counting) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}
