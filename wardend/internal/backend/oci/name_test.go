package oci

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNameIsOneServers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "names")
	first, err := lockName(t.Context(), dir, "x", "/depots/first")
	require.NoError(t, err)
	other, err := lockName(t.Context(), dir, "y", "/depots/other")
	require.NoError(t, err)
	require.NoError(t, other.Close())
	start := time.Now()
	_, err = lockName(t.Context(), dir, "x", "/depots/second")
	require.ErrorIs(t, err, ErrNameInUse)
	require.NotErrorIs(t, err, ErrUnusable, "another kind of containers is no answer to that")
	require.ErrorContains(t, err, "/depots/first")
	require.GreaterOrEqual(t, time.Since(start), nameWait, "one that is just ending is waited for")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = lockName(ctx, dir, "x", "/depots/second")
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, first.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is left")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), []byte("/a/longer/depot/that/was/killed\n"), 0o600))
	second, err := lockName(t.Context(), dir, "x", "/depots/second")
	require.NoError(t, err)
	raw, err := os.ReadFile(filepath.Join(dir, "x"))
	require.NoError(t, err)
	require.Equal(t, "/depots/second\n", string(raw))
	require.NoError(t, second.Close())
}

// TestNameChangesHands: however they come and go, no two have it at once.
func TestNameChangesHands(t *testing.T) {
	dir := t.TempDir()
	var holders atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				l, err := lockName(t.Context(), dir, "x", "/depot")
				if errors.Is(err, ErrNameInUse) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				assert.EqualValues(t, 1, holders.Add(1))
				holders.Add(-1)
				assert.NoError(t, l.Close())
			}
		})
	}
	group.Wait()
}
