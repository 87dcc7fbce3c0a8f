package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/warden"
)

// clockwork is a Temporal that notes when it was asked or told what. No query is answered.
type clockwork struct {
	mu sync.Mutex
	// away makes each request fail, and not only the queries.
	away bool
	// questions are when it was queried, told what was said of readiness, and when.
	questions []time.Time
	told      []bool
	at        []time.Time
}

var errNone = errors.New("no answer")

func (c *clockwork) SignalWorkflow(_ context.Context, _, _, _ string, value any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := value.(api.InstanceReadiness); ok {
		c.told, c.at = append(c.told, r.Ready), append(c.at, time.Now())
	}
	return nil
}

func (c *clockwork) QueryWorkflow(context.Context, string, string, string, ...any) (converter.EncodedValue, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.questions = append(c.questions, time.Now())
	return nil, errNone
}

func (c *clockwork) DescribeWorkflow(context.Context, string, string) (*client.WorkflowExecutionDescription, error) {
	if c.away {
		return nil, errNone
	}
	description := &client.WorkflowExecutionDescription{}
	description.Status = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	return description, nil
}

// readiness is what was said of it, in order.
func (c *clockwork) readiness() []bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.told)
}

// when is when the nth was said.
func (c *clockwork) when(n int) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at[n]
}

func newPaced(t *testing.T, c *clockwork) *Supervisor {
	t.Helper()
	return New(Deps{Node: "n", Warden: warden.NewClient(t.TempDir() + "/none"), Temporal: c, Log: hclog.NewNullLogger()})
}

// flapping is a supervisor with an instance that is looked after, without a job, at a moment of its own.
func flapping(t *testing.T, do func(s *Supervisor, c *clockwork, w *Watch, be func(ready bool))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &clockwork{}
		s := newPaced(t, c)
		defer s.Close()
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		w := &Watch{instance: "i", ctx: ctx, cancel: cancel, done: make(chan struct{}), stirred: make(chan struct{}, 1)}
		require.True(t, w.adopt(Instance{ID: "i"}))
		do(s, c, w, func(ready bool) {
			s.readied(w, ready, nil)
			synctest.Wait()
		})
	})
}

func TestFirstReadinessAndEachLossAreToldAtOnce(t *testing.T) {
	flapping(t, func(_ *Supervisor, c *clockwork, _ *Watch, be func(bool)) {
		be(true)
		require.Equal(t, []bool{true}, c.readiness())
		be(false)
		require.Equal(t, []bool{true, false}, c.readiness())
		be(true)
		require.Len(t, c.readiness(), 2, "it may be lost again")
		time.Sleep(readyGap)
		synctest.Wait()
		require.Equal(t, []bool{true, false, true}, c.readiness())
		require.Equal(t, readyGap, c.when(2).Sub(c.when(1)))
		be(false)
		require.Equal(t, []bool{true, false, true, false}, c.readiness())
	})
}

func TestReadinessThatFlapsIsToldSeldomAndAsItIsInTheEnd(t *testing.T) {
	for _, last := range []bool{true, false} {
		flapping(t, func(_ *Supervisor, c *clockwork, _ *Watch, be func(bool)) {
			const minutes = 10
			for range minutes * 60 {
				be(true)
				time.Sleep(500 * time.Millisecond)
				be(false)
				time.Sleep(500 * time.Millisecond)
			}
			be(last)
			time.Sleep(time.Minute)
			synctest.Wait()
			told := c.readiness()
			require.Equal(t, last, told[len(told)-1])
			require.LessOrEqual(t, len(told), 2*int(minutes*time.Minute/readyGap)+2)
			for n := 1; n < len(told); n++ {
				require.NotEqual(t, told[n-1], told[n])
			}
		})
	}
}

func TestEndDoesNotWaitForReadiness(t *testing.T) {
	flapping(t, func(s *Supervisor, c *clockwork, w *Watch, be func(bool)) {
		be(true)
		be(false)
		be(true)
		s.ended(w, api.InstanceExit{})
		synctest.Wait()
		w.mu.Lock()
		require.True(t, w.news.over)
		w.mu.Unlock()
		time.Sleep(time.Minute)
		require.Equal(t, []bool{true, false}, c.readiness())
	})
}

func TestAWorkflowThatDoesNotAnswerIsAskedSeldom(t *testing.T) {
	for name, away := range map[string]bool{"its workflow is at fault": false, "Temporal is away": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &clockwork{away: away}
				s := newPaced(t, c)
				defer s.Close()
				ledger := api.NodeStatus{Reservations: []api.Reservation{{ID: "i", Kind: api.KindInstance, Workflow: "w"}}}
				require.NoError(t, s.Resume(t.Context(), ledger))
				time.Sleep(10 * time.Minute)
				c.mu.Lock()
				defer c.mu.Unlock()
				last := len(c.questions) - 1
				want := silentPause
				if away {
					want = longestPause
				}
				require.Equal(t, want, c.questions[last].Sub(c.questions[last-1]))
			})
		})
	}
}

func TestSightingCountsWhenItIsOldEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Supervisor{orphanAge: time.Minute}
		look := func(there ...string) (taken []string) {
			now := map[string]time.Time{}
			for _, name := range there {
				if s.due(s.seen.containers, now, name) {
					taken = append(taken, name)
				}
			}
			s.seen.containers = now
			return taken
		}
		require.Empty(t, look("a"))
		require.Empty(t, look("a", "b"), "a moment later")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"a", "b"}, look("a", "b"))
		require.Empty(t, look("a"))
		time.Sleep(time.Minute)
		require.Empty(t, look("b"))
		require.Empty(t, look("a"), "it was owned in between")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"a"}, look("a"))
	})
}
