package droplets_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/droplets"
)

const sha = "da39a3ee5e6b4b0d3255bfef95601890afd80709"

func write(t *testing.T, dir, content string) string {
	t.Helper()
	path := filepath.Join(dir, "new.tgz")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestMove(t *testing.T) {
	store := droplets.New(t.TempDir())
	part, err := store.Part(sha)
	require.NoError(t, err)
	_, ok := store.Has(sha)
	require.False(t, ok)
	for range 2 {
		require.NoError(t, os.WriteFile(part, []byte("droplet"), 0o600))
		require.NoError(t, store.Move(sha, part))
	}
	requireDroplet(t, store, "droplet")
	require.NoFileExists(t, part)
	require.Error(t, store.Move(sha, part))
}

func TestPutLinks(t *testing.T) {
	base := t.TempDir()
	store := droplets.New(base)
	from := write(t, base, "droplet")
	file, err := os.Open(from)
	require.NoError(t, err)
	defer file.Close()
	// The name may lead elsewhere by the time that the file is put: what was read is what is kept.
	require.NoError(t, os.Rename(from, from+".moved"))
	require.NoError(t, os.WriteFile(from, []byte("other"), 0o600))
	for range 2 {
		require.NoError(t, store.Put(sha, file))
	}
	requireDroplet(t, store, "droplet")
	path, err := store.Path(sha)
	require.NoError(t, err)
	cached, err := os.Stat(path)
	require.NoError(t, err)
	original, err := os.Stat(from + ".moved")
	require.NoError(t, err)
	require.True(t, os.SameFile(cached, original), "not copied")
}

func TestPutCopiesFromElsewhere(t *testing.T) {
	elsewhere, err := os.MkdirTemp("/dev/shm", "dea")
	if err != nil {
		t.Skip("no second file system here")
	}
	t.Cleanup(func() { os.RemoveAll(elsewhere) })
	base := t.TempDir()
	store := droplets.New(base)
	file, err := os.Open(write(t, elsewhere, "droplet"))
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, store.Put(sha, file))
	requireDroplet(t, store, "droplet")
	parts, err := os.ReadDir(filepath.Join(base, "droplets", ".parts"))
	if err == nil {
		require.Empty(t, parts)
	}
}

func TestBadDigests(t *testing.T) {
	base := t.TempDir()
	store := droplets.New(base)
	for _, bad := range []string{"", "..", "../../etc", sha[1:], sha + "0", strings.Replace(sha, "d", "g", 1), sha + "\n"} {
		require.ErrorIs(t, droplets.Check(bad), droplets.ErrBadDigest, "%q", bad)
		_, err := store.Dir(bad)
		require.ErrorIs(t, err, droplets.ErrBadDigest)
		_, err = store.Part(bad)
		require.ErrorIs(t, err, droplets.ErrBadDigest)
		require.ErrorIs(t, store.Move(bad, "x"), droplets.ErrBadDigest)
		require.ErrorIs(t, store.Claim("i", bad), droplets.ErrBadDigest)
		require.ErrorIs(t, store.Release("i", bad), droplets.ErrBadDigest)
		_, err = store.Layer(t.Context(), bad, droplets.Owner{}, droplets.Room{})
		require.ErrorIs(t, err, droplets.ErrBadDigest)
		_, ok := store.Has(bad)
		require.False(t, ok)
	}
	entries, err := os.ReadDir(base)
	require.NoError(t, err)
	require.Empty(t, entries)
	lower, err := store.Dir(sha)
	require.NoError(t, err)
	upper, err := store.Dir(strings.ToUpper(sha))
	require.NoError(t, err)
	require.Equal(t, lower, upper)
}

func requireDroplet(t *testing.T, store *droplets.Store, content string) {
	t.Helper()
	size, ok := store.Has(sha)
	require.True(t, ok)
	require.EqualValues(t, len(content), size)
	path, err := store.Path(sha)
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, content, string(got))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o444), info.Mode().Perm())
}
