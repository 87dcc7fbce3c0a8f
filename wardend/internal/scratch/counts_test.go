package scratch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cost time.Duration
		runs, step, broken := 0, uint64(1), error(nil)
		c := newCounts(func(ctx context.Context, _ string, counted func(uint64)) error {
			runs++
			for range 10 {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(cost / 10):
				}
				counted(step)
			}
			return broken
		})
		get := func(most time.Duration) uint64 {
			t.Helper()
			start := time.Now()
			n, err := c.get("a")
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(start), most)
			return n
		}
		require.Equal(t, uint64(10), get(0), "a quick count is waited for")
		step = 2
		require.Equal(t, uint64(10), get(0), "and good for a while")
		require.Equal(t, 1, runs)
		time.Sleep(freshness)
		require.Equal(t, uint64(20), get(0))

		cost = 10 * time.Second
		c.forget("a")
		require.Zero(t, get(patience), "nobody waits for a slow one")
		time.Sleep(cost / 2)
		require.Equal(t, uint64(10), get(patience), "as far as it has come")
		time.Sleep(cost)
		require.Equal(t, uint64(20), get(0))
		step = 3
		time.Sleep(cost)
		require.Equal(t, uint64(20), get(0), "the next begins after twenty times as long")
		require.Equal(t, 3, runs)
		time.Sleep(costFactor * cost)
		require.Equal(t, uint64(20), get(patience), "and until it ends the last one counts")
		time.Sleep(cost)
		require.Equal(t, uint64(30), get(0))

		broken = errors.New("broken")
		cost = 0
		time.Sleep(costFactor * 2 * time.Minute)
		_, err := c.get("a")
		require.ErrorIs(t, err, broken)
		broken = nil
		time.Sleep(freshness)
		require.Equal(t, uint64(30), get(0))

		cost = time.Hour
		time.Sleep(time.Minute)
		require.Equal(t, uint64(30), get(patience))
		c.close()
		require.Equal(t, uint64(30), get(0), "closing ends it")
	})
}
