package nodeid_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/nodeid"
)

func TestIDIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "base")
	first, err := nodeid.Take(dir, 3)
	require.NoError(t, err)
	require.Regexp(t, `^3-[0-9a-f]{16}$`, first.String())
	require.NoError(t, first.Release())

	second, err := nodeid.Take(dir, 4)
	require.NoError(t, err)
	defer func() { require.NoError(t, second.Release()) }()
	require.Equal(t, first.String(), second.String(), "a later index does not rename the node")
}

func TestSecondHolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	first, err := nodeid.Take(dir, 0)
	require.NoError(t, err)
	_, err = nodeid.Take(dir, 0)
	require.ErrorIs(t, err, nodeid.ErrHeld)
	require.NoError(t, first.Release())
	again, err := nodeid.Take(dir, 0)
	require.NoError(t, err)
	require.NoError(t, again.Release())
}

func TestEmptyIDIsSaidAndNotReplaced(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "node_id"), []byte("\n"), 0o600))
	_, err := nodeid.Take(dir, 0)
	require.ErrorContains(t, err, "is empty")
}
