package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// How long the kernel may take to do in the background what it does some time after.
const (
	soon = 30 * time.Second
	tick = 50 * time.Millisecond
)

// contextOf is one that cleaning up can use too.
func contextOf(tb testing.TB) context.Context {
	tb.Helper()
	return context.WithoutCancel(tb.Context())
}

// fill appends to a file until that fails, and says how much the file has then. It stops at most.
func fill(t testing.TB, path string, most int) (int, error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, fileMode)
	require.NoError(t, err)
	defer f.Close()
	buffer := []byte(strings.Repeat("not a hole.", 6000)[:64<<10])
	written := 0
	for written < most && err == nil {
		var n int
		n, err = f.Write(buffer[:min(len(buffer), most-written)])
		written += n
	}
	return written, errors.Join(err, f.Sync())
}

// settle has a file system count what has changed, as it does some time after.
func settle(t testing.TB, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, unix.Syncfs(int(f.Fd())))
}

func requireFull(t testing.TB, err error) {
	t.Helper()
	require.Error(t, err)
	require.True(t, errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.ENOSPC), "%v", err)
}

func TestLimits(t *testing.T) {
	forEach(t, func(s *testStore) {
		t := s.tb
		ctx := t.Context()
		dir := s.make(t, "a")
		file := filepath.Join(dir, "file")
		other := filepath.Join(s.make(t, "b"), "file")

		require.NoError(t, s.Limit(ctx, "a", 8*mib, 0))
		require.NoError(t, s.Limit(ctx, "a", 8*mib, 0), "twice")
		n, err := fill(t, file, 64*mib)
		requireFull(t, err)
		require.InDelta(t, 8*mib, n, mib, "bytes until the limit")
		used, _, err := s.Usage(ctx, "a")
		require.NoError(t, err)
		require.LessOrEqual(t, used, uint64(8*mib))

		require.NoError(t, s.Limit(ctx, "a", 24*mib, 0), "raised")
		n, err = fill(t, file, 64*mib)
		requireFull(t, err)
		require.InDelta(t, 16*mib, n, mib, "bytes from the old limit to the new")

		require.NoError(t, s.Limit(ctx, "a", 12*mib, 0), "lowered below what is used")
		n, err = fill(t, file, mib)
		requireFull(t, err)
		require.Zero(t, n)
		err = os.WriteFile(file+"2", make([]byte, mib), fileMode)
		requireFull(t, err)
		require.NoError(t, os.Remove(file), "files can be removed beyond the limit")
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			settle(t, dir)
			used, _, err := s.Usage(ctx, "a")
			require.NoError(c, err)
			require.Less(c, used, uint64(mib))
		}, soon, tick)
		n, err = fill(t, file, 64*mib)
		requireFull(t, err)
		require.InDelta(t, 12*mib, n, mib, "bytes until the lower limit")

		require.NoError(t, s.Limit(ctx, "a", 0, 0), "no limit")
		_, err = fill(t, file, 32*mib)
		require.NoError(t, err)
		_, err = fill(t, other, 64*mib)
		require.NoError(t, err, "another's limit is not this one's")

		if err = s.Limit(ctx, "b", 66*mib, 10); err != nil {
			require.ErrorIs(t, err, ErrInodesUnlimited)
		}
		_, err = fill(t, other, 8*mib)
		requireFull(t, err)
		require.NoError(t, s.Limit(ctx, "b", 1<<60, 0), "more than there is")
		_, err = fill(t, other, 8*mib)
		require.NoError(t, err)
		require.NoError(t, s.Limit(ctx, "b", 1, 0), "less than a block")
		_, err = fill(t, other, 8*mib)
		requireFull(t, err)
	})
}

// TestLimitsThatAreTooSmall: a limit can be changed however little the one before leaves.
func TestLimitsThatAreTooSmall(t *testing.T) {
	forEach(t, func(s *testStore) {
		t := s.tb
		s.make(t, "small")
		for _, bytes := range []uint64{2048, 4096, 1, 7 << 10, 0} {
			require.NoError(t, s.Limit(t.Context(), "small", bytes, 0), "%d", bytes)
		}
	})
}

func TestInodeLimits(t *testing.T) {
	forEach(t, func(s *testStore) {
		t, ctx := s.tb, s.tb.Context()
		dir := s.make(t, "a")
		touch := func(from, to int) error {
			for i := from; i < to; i++ {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, fileMode); err != nil {
					return err
				}
			}
			return nil
		}
		err := s.Limit(ctx, "a", 0, 11)
		if errors.Is(err, ErrInodesUnlimited) {
			require.NoError(t, touch(0, 20), "it said so")
			return
		}
		require.NoError(t, err)
		require.NoError(t, touch(0, 10))
		requireFull(t, touch(10, 11))
		require.NoError(t, s.Limit(ctx, "a", 0, 21))
		require.NoError(t, touch(10, 20))
		requireFull(t, touch(20, 21))
		require.NoError(t, s.Limit(ctx, "a", 0, 5))
		require.NoError(t, os.Remove(filepath.Join(dir, "0")))
		requireFull(t, touch(0, 1))
		require.NoError(t, s.Limit(ctx, "a", 0, 0))
		require.NoError(t, touch(0, 100))
	})
}

func TestUsage(t *testing.T) {
	forEach(t, func(s *testStore) {
		t := s.tb
		ctx := t.Context()
		dir := s.make(t, "a")

		usage := func(bytes, slack, inodes int) {
			t.Helper()
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				settle(t, dir)
				b, i, err := s.Usage(ctx, "a")
				require.NoError(c, err)
				require.InDelta(c, bytes, b, float64(slack))
				require.EqualValues(c, inodes, i)
			}, soon, tick)
		}
		usage(0, 64<<10, 1) // the directory

		const files, size = 300, 40 << 10
		for i := range files {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, fmt.Sprint(i%3)), dirMode))
			_, err := fill(t, filepath.Join(dir, fmt.Sprint(i%3), fmt.Sprint(i)), size)
			require.NoError(t, err)
		}
		require.NoError(t, os.Link(filepath.Join(dir, "0", "0"), filepath.Join(dir, "link")), "is the same inode")
		usage(files*size, 512<<10, files+4)

		require.NoError(t, os.WriteFile(filepath.Join(dir, "unsynced"), make([]byte, 16*mib), fileMode))
		usage(files*size+16*mib, 512<<10, files+5)
		require.NoError(t, os.Remove(filepath.Join(dir, "unsynced")))
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "1")))
		usage(files*size*2/3, 512<<10, files*2/3+3)
	})
}

// hostBytes are what a directory's files take on the disk.
func hostBytes(t *testing.T, dir string) (total int64) {
	t.Helper()
	for _, pattern := range []string{"*.img", "images/*/image"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		require.NoError(t, err)
		for _, file := range files {
			var stat unix.Stat_t
			require.NoError(t, unix.Stat(file, &stat))
			total += stat.Blocks * 512
		}
	}
	return total
}

func TestSpaceIsGivenBack(t *testing.T) {
	for _, v := range variants() {
		if v.kind == KindAuto || v.kind == KindQuota {
			continue // the file system is the operator's
		}
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, v)
			s.make(t, "stays")
			dir := s.make(t, "a")
			before := hostBytes(t, s.options.Dir)
			_, err := fill(t, filepath.Join(dir, "removed"), 64*mib)
			require.NoError(t, err)
			_, err = fill(t, filepath.Join(dir, "file"), 64*mib)
			require.NoError(t, err)
			require.InDelta(t, before+128*mib, hostBytes(t, s.options.Dir), 16*mib)
			require.NoError(t, os.Remove(filepath.Join(dir, "removed")))
			shrinks := func(to int64) {
				t.Helper()
				require.Eventually(t, func() bool { return hostBytes(t, s.options.Dir) < before+to+16*mib }, soon, tick)
			}
			shrinks(64 * mib)
			start := time.Now()
			require.NoError(t, s.Remove(t.Context(), "a"))
			shrinks(0)
			t.Log("gone from the host's disk after", time.Since(start))
		})
	}
}

func TestFoundAgain(t *testing.T) {
	forEach(t, func(s *testStore) {
		t := s.tb
		ctx := t.Context()
		dir := s.make(t, "a")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("kept"), fileMode))
		require.NoError(t, s.Limit(ctx, "a", 8*mib, 0))
		open, err := os.Open(filepath.Join(dir, "file"))
		require.NoError(t, err)
		defer open.Close()

		check := func() {
			t.Helper()
			again, err := s.Open(ctx, "a")
			require.NoError(t, err)
			require.Equal(t, dir, again)
			again, err = s.Open(ctx, "a")
			require.NoError(t, err, "twice")
			require.Equal(t, dir, again)
			b, err := os.ReadFile(filepath.Join(dir, "file"))
			require.NoError(t, err)
			require.Equal(t, "kept", string(b))
			n, err := fill(t, filepath.Join(dir, "more"), 64*mib)
			requireFull(t, err)
			require.InDelta(t, 8*mib, n, mib)
			require.NoError(t, os.Remove(filepath.Join(dir, "more")))
			ids, err := s.IDs(ctx)
			require.NoError(t, err)
			require.Equal(t, []string{"a"}, ids)
		}
		s.open(t) // the old one was killed
		check()
		require.NoError(t, s.Close())
		s.options.Kind = KindAuto
		s.open(t)
		check()

		// Somebody has unmounted it, while a file keeps it alive.
		for _, mount := range []string{filepath.Join(s.options.Dir, btrfsDir), dir} {
			if is, err := mounted(mount); err == nil && is {
				require.NoError(t, unix.Unmount(mount, unix.MNT_DETACH))
			}
		}
		s.open(t)
		check()
		require.LessOrEqual(t, len(loopsBeneath(t, s.options.Dir)), 1, "not a second time on the same blocks")
		require.NoError(t, open.Close())

		// The machine was started anew.
		for _, mount := range []string{filepath.Join(s.options.Dir, btrfsDir), dir} {
			require.NoError(t, unmount(ctx, mount))
		}
		s.open(t)
		check()
	})
}

func TestIDs(t *testing.T) {
	forEach(t, func(s *testStore) {
		t := s.tb
		ctx := t.Context()
		for _, id := range []string{"", ".", "..", "a/b", "../a", "a\x00b", "ä", "a b", strings.Repeat("a", 81)} {
			_, err := s.Make(ctx, id)
			require.ErrorIs(t, err, ErrID, "%q", id)
			_, err = s.Open(ctx, id)
			require.ErrorIs(t, err, ErrID, "%q", id)
			require.ErrorIs(t, s.Limit(ctx, id, 1, 1), ErrID, "%q", id)
			_, _, err = s.Usage(ctx, id)
			require.ErrorIs(t, err, ErrID, "%q", id)
			require.ErrorIs(t, s.Remove(ctx, id), ErrID, "%q", id)
		}
		good := []string{"-rf", "..a", ".hidden", "A.img", "_" + strings.Repeat("0f", 20), "a", strings.Repeat("z", 80)}
		for _, id := range good {
			dir := s.make(t, id)
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
			_, err = s.Make(ctx, id)
			require.ErrorIs(t, err, ErrExists)
		}
		ids, err := s.IDs(ctx)
		require.NoError(t, err)
		require.Equal(t, good, ids)
		for _, id := range good {
			require.NoError(t, s.Remove(ctx, id))
			require.NoError(t, s.Remove(ctx, id), "twice")
			_, err := s.Open(ctx, id)
			require.ErrorIs(t, err, ErrNotFound)
			require.ErrorIs(t, s.Limit(ctx, id, mib, 0), ErrNotFound)
			_, _, err = s.Usage(ctx, id)
			require.ErrorIs(t, err, ErrNotFound)
		}
	})
}

func TestManyAtOnceInTwoStores(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			const containers, at = 100, 8
			stores := []*testStore{newStore(t, v), newStore(t, v)}
			var group errgroup.Group
			group.SetLimit(at)
			for i := range containers {
				for n, s := range stores {
					group.Go(func() error {
						id := fmt.Sprintf("c%d", i)
						dir, err := s.Make(t.Context(), id)
						if err != nil {
							return err
						}
						if err := s.Limit(t.Context(), id, mib, 0); err != nil {
							return err
						}
						return os.WriteFile(filepath.Join(dir, "whose"), fmt.Append(nil, n, i), fileMode)
					})
				}
			}
			require.NoError(t, group.Wait())
			for n, s := range stores {
				ids, err := s.IDs(t.Context())
				require.NoError(t, err)
				require.Len(t, ids, containers)
				for i := range containers {
					dir, err := s.Open(t.Context(), fmt.Sprintf("c%d", i))
					require.NoError(t, err)
					b, err := os.ReadFile(filepath.Join(dir, "whose"))
					require.NoError(t, err)
					require.Equal(t, fmt.Sprint(n, i), string(b))
				}
			}
			for i := range containers {
				for _, s := range stores {
					group.Go(func() error { return s.Remove(t.Context(), fmt.Sprintf("c%d", i)) })
				}
			}
			require.NoError(t, group.Wait())
		})
	}
}
