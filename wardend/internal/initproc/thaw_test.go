package initproc

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// stopsAll is a job that stops all others of its user, for ever.
const stopsAll = "while :; do kill -STOP -1; done 2>/dev/null"

// freeze has the init of a box stuck because of one of its jobs.
func freeze(t *testing.T, s *shell) {
	t.Helper()
	const user = 1000
	_, err := s.Spawn(t.Context(), s.spec(user, stopsAll))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Spawn(ctx, s.spec(user, "true"))
		return err != nil
	}, time.Minute, time.Millisecond, "no job hits the moment")
}

func TestThaw(t *testing.T) {
	b := inNamespaces(t, boxOptions{})
	s := b.shell(t)
	freeze(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := s.Jobs(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "it is stuck")

	require.NoError(t, Thaw(b.pid))
	_, err = s.Jobs(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Stop(t.Context(), false, time.Millisecond))
	require.Empty(t, b.descendants(t))
}

func TestThawLeavesJobsAlone(t *testing.T) {
	b := inNamespaces(t, boxOptions{})
	s := b.shell(t)
	_, err := s.Spawn(t.Context(), s.spec(1000, "kill -STOP $$; sleep 1000"))
	require.NoError(t, err)
	stopped := func() bool {
		pids := b.descendants(t)
		require.Len(t, pids, 1)
		stat, err := proctree.Read(pids[0])
		require.NoError(t, err)
		return stat.State == 'T'
	}
	require.Eventually(t, stopped, wait, time.Millisecond)
	require.NoError(t, Thaw(b.pid))
	require.True(t, stopped())
	require.NoError(t, Thaw(1<<22+1), "there is no such process")
}

func TestAStuckInitIsToldOfAndFreed(t *testing.T) {
	b := inNamespaces(t, boxOptions{})
	var told atomic.Int32
	c, err := Connect(t.Context(), b.dir, Events{Slow: func() {
		told.Add(1)
		assert.NoError(t, Thaw(b.pid))
	}})
	require.NoError(t, err)
	defer c.Close()
	freeze(t, b.shell(t))
	require.NoError(t, c.Stop(t.Context(), false, time.Millisecond))
	require.Positive(t, told.Load())
}
