package copytree

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// racer changes two names for one another in a directory until the test ends, as fast as it can.
func racer(t *testing.T, dir, a, b string) *atomic.Int64 {
	t.Helper()
	d, err := os.Open(dir)
	require.NoError(t, err)
	var swaps atomic.Int64
	var stop atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		fd := int(d.Fd())
		for !stop.Load() {
			if unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE) == nil {
				swaps.Add(1)
			}
		}
	})
	t.Cleanup(func() {
		stop.Store(true)
		done.Wait()
		_ = d.Close()
	})
	return &swaps
}

// TestNoRaceLeadsOutside: a container swaps a directory for links to what is the host's while it is copied in and out.
func TestNoRaceLeadsOutside(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "f"), "secret")
	write(t, filepath.Join(outside, "deep/f"), "secret")
	for name, link := range map[string]string{"absolute": outside, "relative": "../../../../../../../../.." + outside} {
		t.Run(name, func(t *testing.T) {
			base, root := tree(t)
			require.NoError(t, os.Mkdir(filepath.Join(base, "t"), 0o755))
			swaps := racer(t, filepath.Join(base, "t"), "d", "l")
			from, to := t.TempDir(), t.TempDir()
			write(t, filepath.Join(from, "d/f"), "inside")
			write(t, filepath.Join(from, "d/new"), "inside")
			write(t, filepath.Join(from, "d/deep/new"), "inside")
			failures, successes := 0, 0
			count := func(err error) {
				if err != nil {
					require.ErrorIs(t, err, ErrFailed)
					failures++
				} else {
					successes++
				}
			}
			for start := time.Now(); failures+successes < 1000 || (swaps.Load() < 1000 && time.Since(start) < time.Minute); {
				setUp(t, filepath.Join(base, "t"), link)
				// Out: a tree in which it is swapped, a path through it, itself.
				for _, source := range []string{"/t", "/t/d/deep", "/t/d/f", "/t/d/"} {
					count(CopyOut(t.Context(), root, source, to, nil))
				}
				// In: over a tree in which it is swapped, to a path through it, into itself.
				count(CopyIn(t.Context(), from+"/", root, "/t", nil))
				count(CopyIn(t.Context(), from+"/d/new", root, "/t/d/deep", nil))
				count(CopyIn(t.Context(), from+"/d/", root, "/t/d", nil))
			}
			require.Positive(t, failures, "some races must be lost, or nothing was tried")
			require.Positive(t, successes)
			t.Logf("%d swaps, %d copies whole, %d given up", swaps.Load(), successes, failures)
			noSecret(t, to)
			nothingNew(t, outside)
		})
	}
}

// setUp puts the directory and the link in place again: a copy in replaces the link.
func setUp(t *testing.T, dir, link string) {
	t.Helper()
	require.Eventually(t, func() bool {
		left := false
		for _, name := range []string{"l", "d"} {
			_ = os.RemoveAll(filepath.Join(dir, name)) // what it is now is the racer's choice
			_, err := os.Lstat(filepath.Join(dir, name))
			left = left || err == nil
		}
		return !left
	}, 10*time.Second, time.Microsecond)
	_ = os.MkdirAll(filepath.Join(dir, "new/deep"), 0o755)
	for _, file := range []string{"new/f", "new/deep/f"} {
		_ = os.WriteFile(filepath.Join(dir, file), []byte("inside"), 0o600)
	}
	require.NoError(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "d")))
	require.NoError(t, os.Symlink(link, filepath.Join(dir, "l")))
}

// noSecret looks at everything that was copied out, but does not follow links.
func noSecret(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			require.NotEqual(t, "secret", read(t, path), path)
		}
		return err
	}))
}

func nothingNew(t *testing.T, outside string) {
	t.Helper()
	var names []string
	require.NoError(t, filepath.WalkDir(outside, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, path)
			require.Equal(t, "secret", read(t, path))
		}
		return err
	}))
	require.Len(t, names, 2)
}
