package share_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/internal/share"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

func TestManyShareOneRun(t *testing.T) {
	var group share.Group[string, int]
	var runs atomic.Int32
	release := make(chan struct{})
	var all sync.WaitGroup
	const callers = 20
	for range callers {
		all.Go(func() {
			got, err := group.Do(t.Context(), "k", func(context.Context) (int, error) {
				runs.Add(1)
				<-release
				return 7, nil
			})
			require.NoError(t, err)
			require.Equal(t, 7, got)
		})
	}
	require.Eventually(t, func() bool { return group.Waiting("k") == callers }, patience, time.Millisecond)
	close(release)
	all.Wait()
	require.EqualValues(t, 1, runs.Load())
	require.Zero(t, group.Waiting("k"))

	_, err := group.Do(t.Context(), "k", func(context.Context) (int, error) { runs.Add(1); return 0, errors.New("x") })
	require.EqualError(t, err, "x")
	require.EqualValues(t, 2, runs.Load(), "a later call runs anew")
}

func TestOneThatLeavesDoesNotDisturbTheOthers(t *testing.T) {
	var group share.Group[string, int]
	release := make(chan struct{})
	work := func(ctx context.Context) (int, error) {
		select {
		case <-release:
			return 1, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	first, leave := context.WithCancel(t.Context())
	left, stayed := make(chan error, 1), make(chan error, 1)
	go func() { _, err := group.Do(first, "k", work); left <- err }()
	require.Eventually(t, func() bool { return group.Waiting("k") == 1 }, patience, time.Millisecond)
	go func() { _, err := group.Do(context.Background(), "k", work); stayed <- err }()
	require.Eventually(t, func() bool { return group.Waiting("k") == 2 }, patience, time.Millisecond)

	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	require.Equal(t, 1, group.Waiting("k"))
	close(release)
	require.NoError(t, <-stayed)
}

func TestTheLastThatLeavesEndsTheWork(t *testing.T) {
	var group share.Group[string, int]
	ended := make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	begun := make(chan struct{})
	go func() {
		<-begun
		leave()
	}()
	_, err := group.Do(ctx, "k", func(ctx context.Context) (int, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return 0, ctx.Err()
	})
	require.ErrorIs(t, err, context.Canceled)
	<-ended
	got, err := group.Do(t.Context(), "k", func(context.Context) (int, error) { return 2, nil })
	require.NoError(t, err)
	require.Equal(t, 2, got, "nobody inherits a cancelled run")
}

func TestTwoRunsNeverOverlap(t *testing.T) {
	var group share.Group[string, int]
	var running, most atomic.Int32
	work := func(ctx context.Context) (int, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		<-ctx.Done()
		// Cleaning up takes a while.
		<-time.After(time.Millisecond)
		return 0, ctx.Err()
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				_, err := group.Do(ctx, "k", work)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				cancel()
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, most.Load())
	require.Zero(t, running.Load(), "nothing runs when all have returned")
}

func TestPanicIsAnError(t *testing.T) {
	var group share.Group[string, int]
	_, err := group.Do(t.Context(), "k", func(context.Context) (int, error) { panic("oh") })
	require.ErrorContains(t, err, "oh")
}
