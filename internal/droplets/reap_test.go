package droplets_test

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/droplets"
)

// everything keeps what there is room and time for.
var everything = droplets.Keep{MaxBytes: 1 << 30, Unused: time.Hour}

func reap(t *testing.T, store *droplets.Store, keep droplets.Keep) []string {
	t.Helper()
	reaped, err := store.Reap(t.Context(), keep)
	require.NoError(t, err)
	return reaped
}

// numbered is a droplet of its own for each number, of about 100 KiB when it is unpacked.
func numbered(t *testing.T, store *droplets.Store, n int) string {
	t.Helper()
	return add(t, store, tar.Header{Typeflag: tar.TypeReg, Name: "app/" + strconv.Itoa(n), Mode: 0o644, Size: 100 << 10})
}

// usedAgo makes a droplet's last use lie back.
func usedAgo(t *testing.T, base, sha1 string, ago time.Duration) {
	t.Helper()
	then := time.Now().Add(-ago)
	require.NoError(t, os.Chtimes(filepath.Join(base, "droplets", ".uses", sha1), then, then))
}

func layerOf(t *testing.T, store *droplets.Store, sha1 string) droplets.Layer {
	t.Helper()
	layer, err := store.Layer(t.Context(), sha1, vcap(), droplets.Room{})
	require.NoError(t, err)
	return layer
}

func TestReapByAge(t *testing.T) {
	store, base, sha1 := cache(t, app()...)
	layer := layerOf(t, store, sha1)
	require.Empty(t, reap(t, store, everything))
	usedAgo(t, base, sha1, 59*time.Minute)
	require.Empty(t, reap(t, store, everything))
	require.DirExists(t, layer.Dir)
	usedAgo(t, base, sha1, time.Hour)
	require.Equal(t, []string{sha1}, reap(t, store, everything))
	_, here := store.Has(sha1)
	require.False(t, here)
	require.NoDirExists(t, layer.Dir)
	left, err := filepath.Glob(filepath.Join(base, "droplets", "*", "*"))
	require.NoError(t, err)
	hidden, err := filepath.Glob(filepath.Join(base, "droplets", ".*", "*"))
	require.NoError(t, err)
	require.Empty(t, append(left, hidden...))
}

func TestReapAtOnce(t *testing.T) {
	store, _, sha1 := cache(t, app()...)
	require.NoError(t, store.Claim("one", sha1))
	keep := everything
	keep.Unused = 0
	require.Empty(t, reap(t, store, keep))
	require.NoError(t, store.Release("one", sha1))
	require.Equal(t, []string{sha1}, reap(t, store, keep))
}

// A droplet's time begins when its last use ends, and not when it came.
func TestReleaseBeginsTheTime(t *testing.T) {
	store, base, sha1 := cache(t, app()...)
	require.NoError(t, store.Claim("one", sha1))
	usedAgo(t, base, sha1, 10*time.Hour)
	require.Empty(t, reap(t, store, everything), "in use")
	require.NoError(t, store.Release("one", sha1))
	require.Empty(t, reap(t, store, everything))
	usedAgo(t, base, sha1, time.Hour)
	require.NoError(t, store.Release("one", sha1), "a second time it changes nothing")
	require.Equal(t, []string{sha1}, reap(t, store, everything))
}

// usedInTurn is a store with so many droplets and their layers, the first of which was used fifty minutes ago and each other one
// ten minutes after the one before.
func usedInTurn(t *testing.T, count int) (store *droplets.Store, base string, all []string) {
	t.Helper()
	base = t.TempDir()
	store = droplets.New(base)
	for n := range count {
		sha1 := numbered(t, store, n)
		layerOf(t, store, sha1)
		usedAgo(t, base, sha1, time.Duration(50-10*n)*time.Minute)
		all = append(all, sha1)
	}
	return store, base, all
}

func TestReapByRoomTakesTheLeastRecentlyUsed(t *testing.T) {
	store, base, all := usedInTurn(t, 5)
	// The oldest is in use, and the second but one was used again.
	require.NoError(t, store.Claim("one", all[0]))
	usedAgo(t, base, all[0], 50*time.Minute)
	require.NoError(t, store.Claim("two", all[1]))
	require.NoError(t, store.Release("two", all[1]))
	three := droplets.Keep{MaxBytes: 400 << 10, Unused: time.Hour}
	require.Equal(t, all[2:4], reap(t, store, three))
	require.Empty(t, reap(t, store, three))
	none := droplets.Keep{MaxBytes: 0, Unused: time.Hour}
	require.Equal(t, []string{all[4], all[1]}, reap(t, store, none))
	_, here := store.Has(all[0])
	require.True(t, here, "never one in use")
}

// What is still coming takes its room as well.
func TestReapByRoomCountsWhatComes(t *testing.T) {
	store, base, sha1 := cache(t, app()...)
	keep := droplets.Keep{MaxBytes: 1 << 20, Unused: time.Hour}
	part, err := store.Part(sha)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(part, nil, 0o600))
	require.NoError(t, os.Truncate(part, 2<<20))
	old := time.Now().Add(-2 * time.Hour)
	require.NoError(t, os.Chtimes(part, old, old))
	require.Empty(t, reap(t, store, keep), "one that nobody goes on with has gone by then")
	require.NoFileExists(t, part)
	require.NoError(t, os.WriteFile(filepath.Join(base, "droplets", ".parts", sha+".whole"), make([]byte, 2<<20), 0o600))
	require.Equal(t, []string{sha1}, reap(t, store, keep))
}

func TestMakeRoomTakesTheLeastRecentlyUsedUntilThereIsEnough(t *testing.T) {
	store, base, all := usedInTurn(t, 4)
	require.NoError(t, store.Claim("one", all[0]))
	usedAgo(t, base, all[0], 50*time.Minute)
	takes := func() int {
		there, err := filepath.Glob(filepath.Join(base, "droplets", ".layers", "*"))
		require.NoError(t, err)
		hidden, err := filepath.Glob(filepath.Join(base, "droplets", ".parts", "*"))
		require.NoError(t, err)
		return len(there) + len(hidden)
	}
	fullAbove := func(most int) func() (bool, error) {
		return func() (bool, error) { return takes() > most, nil }
	}
	for _, c := range []struct {
		most   int
		reaped []string
	}{{4, nil}, {3, all[1:2]}, {3, nil}, {0, all[2:4]}, {0, nil}} {
		reaped, err := store.MakeRoom(t.Context(), fullAbove(c.most))
		require.NoError(t, err)
		require.Equal(t, c.reaped, reaped, "while it is more than %d", c.most)
	}
	_, here := store.Has(all[0])
	require.True(t, here, "never one in use")
	_, err := store.MakeRoom(t.Context(), func() (bool, error) { return false, os.ErrPermission })
	require.ErrorIs(t, err, os.ErrPermission)
}

func TestUsesOutliveTheProcess(t *testing.T) {
	store, base, sha1 := cache(t, app()...)
	layer := layerOf(t, store, sha1)
	for range 2 {
		require.NoError(t, store.Claim("an/odd id", sha1))
	}
	require.NoError(t, store.Claim("one", sha1))
	next := droplets.New(base)
	require.Empty(t, reap(t, next, droplets.Keep{}))
	require.DirExists(t, layer.Dir)
	require.NoError(t, next.Release("one", sha1))
	uses, err := next.Uses()
	require.NoError(t, err)
	require.Len(t, uses, 1)
	require.Equal(t, sha1, uses[0].SHA1)
	require.Empty(t, reap(t, next, droplets.Keep{}))
	require.NoError(t, next.Drop(uses...))
	require.NoError(t, next.Drop(uses...), "it is no error when it is not there")
	require.Equal(t, []string{sha1}, reap(t, next, droplets.Keep{}))
}

func TestReapTakesWhatADeathLeft(t *testing.T) {
	store, base, sha1 := cache(t, app()...)
	layerOf(t, store, sha1)
	parts := filepath.Join(base, "droplets", ".parts")
	for _, name := range []string{"x-1-1.new", "x.0.gone"} {
		require.NoError(t, os.MkdirAll(filepath.Join(parts, name, "sub"), 0o700))
	}
	for name, age := range map[string]time.Duration{"young": time.Minute, "old": 2 * time.Hour} {
		then := time.Now().Add(-age)
		require.NoError(t, os.WriteFile(filepath.Join(parts, name), nil, 0o600))
		require.NoError(t, os.Chtimes(filepath.Join(parts, name), then, then))
	}
	stale := filepath.Join(base, "droplets", ".layers", sha1+"-7-7")
	require.NoError(t, os.MkdirAll(stale, 0o700))
	require.Empty(t, reap(t, store, everything))
	left, err := os.ReadDir(parts)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "young", left[0].Name())
	require.NoDirExists(t, stale, "one that is not whole")
	layers, err := filepath.Glob(filepath.Join(base, "droplets", ".layers", "*"))
	require.NoError(t, err)
	require.Len(t, layers, 1)
}

// A layer without its droplet, or a droplet that only a note is left of, goes like any other.
func TestReapOfParts(t *testing.T) {
	store, base, sha1 := cache(t, app()...)
	layerOf(t, store, sha1)
	dir, err := store.Dir(sha1)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	require.Equal(t, []string{sha1}, reap(t, store, droplets.Keep{MaxBytes: 1 << 30}))
	require.NoError(t, store.Claim("one", sha))
	require.Empty(t, reap(t, store, droplets.Keep{}))
	require.NoError(t, store.Release("one", sha))
	require.Empty(t, reap(t, store, droplets.Keep{}))
	require.NoDirExists(t, filepath.Join(base, "droplets", ".uses", sha))
}

// What somebody has put beside the droplets is left alone, and keeps nothing from being reaped.
func TestReapLeavesWhatIsNotOurs(t *testing.T) {
	store, base, sha1 := cache(t, app()...)
	for _, name := range []string{"lost+found", ".layers/-1-1", ".layers/other"} {
		require.NoError(t, os.MkdirAll(filepath.Join(base, "droplets", name), 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(base, "droplets", ".uses", "note"), nil, 0o600))
	uses, err := store.Uses()
	require.NoError(t, err)
	require.Empty(t, uses)
	require.Equal(t, []string{sha1}, reap(t, store, droplets.Keep{}))
	for _, name := range []string{"lost+found", ".layers/-1-1", ".layers/other"} {
		require.DirExists(t, filepath.Join(base, "droplets", name))
	}
}

func TestReapEndsWithItsContext(t *testing.T) {
	store, _, sha1 := cache(t, app()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	reaped, err := store.Reap(ctx, droplets.Keep{})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{sha1}, reaped, "out of sight it is in any case")
	require.Empty(t, reap(t, store, everything))
}

// Whoever claims a droplet and then finds it here keeps it, however much is reaped meanwhile.
func TestClaimGoesBeforeReap(t *testing.T) {
	base := t.TempDir()
	store := droplets.New(base)
	content, sha1 := tarball(t, app()...)
	stop := make(chan struct{})
	var reaping, users sync.WaitGroup
	reaping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := store.Reap(context.Background(), droplets.Keep{}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for n := range 4 {
		users.Go(func() {
			for range 25 {
				if err := use(t, store, strconv.Itoa(n), sha1, content); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
	close(stop)
	reaping.Wait()
}

// use is what an instance does with a droplet.
func use(t *testing.T, store *droplets.Store, instance, sha1 string, content []byte) error {
	t.Helper()
	if err := store.Claim(instance, sha1); err != nil {
		return err
	}
	if _, here := store.Has(sha1); !here {
		part, err := store.Part(sha1)
		if err != nil {
			return err
		}
		if err := os.WriteFile(part+instance, slices.Clone(content), 0o600); err != nil {
			return err
		}
		if err := store.Move(sha1, part+instance); err != nil {
			return err
		}
	}
	layer, err := store.Layer(t.Context(), sha1, vcap(), droplets.Room{})
	if err != nil {
		return err
	}
	for range 10 {
		if _, err := os.Stat(filepath.Join(layer.Dir, "home", "vcap", "app", "run")); err != nil {
			return err
		}
	}
	return store.Release(instance, sha1)
}
