package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// sick is a probe whose answer a test sets, and which counts its looks.
type sick struct {
	mu    sync.Mutex
	err   error
	looks int
	times []time.Time
}

var errSick = errors.New("sick")

func (s *sick) Probe(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	s.times = append(s.times, time.Now())
	return s.err
}

func (s *sick) be(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *sick) looked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

// heard is what a test was told.
type heard struct {
	mu   sync.Mutex
	said []string
}

func (h *heard) checks(liveness, readiness Check) Checks {
	say := func(text string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.said = append(h.said, text)
	}
	return Checks{
		Liveness: liveness, Readiness: readiness,
		Unhealthy: func(err error) { say("unhealthy: " + err.Error()) },
		Readied:   func(ready bool, err error) { say(fmt.Sprintf("ready %v: %v", ready, err)) },
	}
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.said...)
}

func every(probe Probe, interval time.Duration, threshold int) Check {
	return Check{Probe: probe, Interval: interval, Timeout: time.Second, Threshold: threshold}
}

// pass lets time pass until all that is due in it is done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestLivenessFailsOnceAfterItsThreshold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		probe, h := &sick{}, &heard{}
		s.Add("i", h.checks(every(probe, 30*time.Second, 3), Check{}))
		pass(5 * time.Minute)
		require.Empty(t, h.all())
		require.InDelta(t, 10, probe.looked(), 1)

		probe.be(errSick)
		was := probe.looked()
		for probe.looked() < was+2 {
			pass(time.Second)
		}
		probe.be(nil) // In a row is what counts.
		pass(time.Minute)
		require.Empty(t, h.all())

		probe.be(errSick)
		was = probe.looked()
		pass(time.Hour)
		require.Equal(t, []string{"unhealthy: sick"}, h.all())
		require.Equal(t, was+3, probe.looked(), "nobody looks at it any more")
	})
}

func TestReadinessIsToldWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		probe, h := &sick{}, &heard{}
		s.Add("i", h.checks(Check{}, every(probe, 2*time.Second, 2)))
		for range 3 {
			probe.be(errSick)
			pass(time.Minute)
			probe.be(nil)
			pass(time.Minute)
		}
		lost, regained := "ready false: sick", "ready true: <nil>"
		require.Equal(t, []string{lost, regained, lost, regained, lost, regained}, h.all())
	})
}

func TestReadinessThatWasLostBeforeIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		probe, h := &sick{err: errSick}, &heard{}
		checks := h.checks(Check{}, every(probe, 2*time.Second, 1))
		checks.Unready = true
		s.Add("i", checks)
		pass(time.Minute)
		require.Empty(t, h.all())
		probe.be(nil)
		pass(time.Minute)
		require.Equal(t, []string{"ready true: <nil>"}, h.all())
	})
}

func TestUnhealthyInstanceIsAskedForItsReadinessNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		live, ready, h := &sick{err: errSick}, &sick{}, &heard{}
		s.Add("i", h.checks(every(live, time.Second, 1), every(ready, time.Second, 1)))
		pass(2 * time.Second)
		looks := ready.looked()
		ready.be(errSick)
		pass(time.Minute)
		require.Equal(t, []string{"unhealthy: sick"}, h.all())
		require.LessOrEqual(t, ready.looked(), looks+1)
	})
}

// TestLooksAreSpread: a worker that comes back adds all its instances at once.
func TestLooksAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		var mu sync.Mutex
		second := map[int]int{}
		began := time.Now()
		probe := probeFunc(func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			second[int(time.Since(began).Seconds())]++
			return nil
		})
		const instances = 300
		for n := range instances {
			s.Add(fmt.Sprint(n), (&heard{}).checks(every(probe, 30*time.Second, 1), Check{}))
		}
		pass(29 * time.Second)
		total := 0
		for n, looks := range second {
			require.Less(t, looks, 2*instances/beats, "in second %d", n) // more than five deviations from the mean
			total += looks
		}
		require.InDelta(t, instances-instances/beats, total, 30, "those of the last beat are still to come")
	})
}

// TestLooksThatFellTogetherPart: after a worker was stopped for a while, all of them are due.
func TestLooksThatFellTogetherPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		var probe sick
		const instances = 300
		s.mu.Lock()
		for range instances {
			i := &instance{ctx: s.ctx, cancel: func() {}}
			s.push(&task{of: i, check: every(&probe, 30*time.Second, 1)}, s.began.Add(30*time.Second))
		}
		s.mu.Unlock()
		pass(20 * time.Minute)
		moments := map[time.Time]int{}
		for _, at := range probe.times {
			moments[at]++
		}
		require.Equal(t, instances, moments[s.began.Add(30*time.Second)])
		for at, looks := range moments {
			if at.Sub(s.began) > 15*time.Minute {
				require.Less(t, looks, instances/2, "after %s", at.Sub(s.began))
			}
		}
	})
}

// TestLooksOfOneTimeAreMadeTogether: the worker wakes ten times an interval, however many instances it looks at.
func TestLooksOfOneTimeAreMadeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		var h heard
		const instances, interval, intervals = 200, 30 * time.Second, 20
		var probes [instances]sick
		for i := range instances {
			s.Add(fmt.Sprint(i), h.checks(every(&probes[i], interval, 1), Check{}))
		}
		pass(intervals * interval)
		moments, total := map[time.Time]bool{}, 0
		for i := range instances {
			for n, at := range probes[i].times {
				moments[at] = true
				if n > 0 {
					require.InDelta(t, interval, at.Sub(probes[i].times[n-1]), float64(interval/beats), "a gap is the interval, or a beat off it")
				}
			}
			total += probes[i].looks
		}
		require.InEpsilon(t, intervals*instances, total, 0.03)
		require.LessOrEqual(t, len(moments), intervals*beats+1)
		require.Empty(t, h.all())
	})
}

type probeFunc func(ctx context.Context) error

func (f probeFunc) Probe(ctx context.Context) error { return f(ctx) }

func TestSlowLooksKeepNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		hangs := probeFunc(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		for n := range 400 {
			check := every(hangs, time.Second, 1000)
			check.Timeout = time.Hour
			s.Add(fmt.Sprint("slow ", n), (&heard{}).checks(check, Check{}))
		}
		quick := &sick{}
		s.Add("quick", (&heard{}).checks(every(quick, time.Second, 1), Check{}))
		pass(time.Minute)
		require.InDelta(t, 60, quick.looked(), 5)
	})
}

func TestNoMoreLooksAtOnceThanMayBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScheduler(3)
		defer s.Close()
		var now, most atomic.Int32
		var looks atomic.Int32
		probe := probeFunc(func(context.Context) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer now.Add(-1)
			looks.Add(1)
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		for n := range 50 {
			s.Add(fmt.Sprint(n), (&heard{}).checks(every(probe, time.Second, 1), Check{}))
		}
		pass(10 * time.Second)
		require.EqualValues(t, 3, most.Load())
		require.InDelta(t, 300, looks.Load(), 10, "and as many as may be are used")
	})
}

func TestRemovedInstanceIsNotHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		probe, h := &sick{err: errSick}, &heard{}
		s.Add("i", h.checks(every(probe, time.Second, 1), every(probe, time.Second, 1)))
		s.Remove("i")
		s.Remove("i")
		pass(time.Minute)
		require.Empty(t, h.all())
		require.Zero(t, probe.looked())

		began := make(chan struct{})
		cut := probeFunc(func(ctx context.Context) error { close(began); <-ctx.Done(); return ctx.Err() })
		s.Add("i", h.checks(every(cut, time.Second, 1), Check{}))
		<-began
		s.Remove("i")
		pass(time.Minute)
		require.Empty(t, h.all(), "not of a look that was under way either")
		require.Zero(t, s.due.Len())
	})
}

// TestRemoveWaitsForWhatIsBeingTold has the real clock: a lock that is waited for does not count as idle in a bubble.
func TestRemoveWaitsForWhatIsBeingTold(t *testing.T) {
	s := NewScheduler()
	defer s.Close()
	telling, told := make(chan struct{}), false
	s.Add("i", Checks{
		Liveness: every(&sick{err: errSick}, time.Millisecond, 1),
		Unhealthy: func(error) {
			close(telling)
			time.Sleep(20 * time.Millisecond)
			told = true
		},
	})
	<-telling
	s.Remove("i")
	require.True(t, told)
}

func TestAddedAgainIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		older, newer := &sick{err: errSick}, &sick{}
		h := &heard{}
		s.Add("i", h.checks(every(older, time.Second, 1), Check{}))
		s.Add("i", h.checks(every(newer, time.Second, 1), Check{}))
		pass(time.Minute)
		require.Empty(t, h.all())
		require.Zero(t, older.looked())
		require.NotZero(t, newer.looked())
	})
}

// TestFaultsOfTheNodeAreNotTheInstances: a worker without file descriptors must not end every app of its node.
func TestFaultsOfTheNodeAreNotTheInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		h := &heard{}
		probe := &sick{err: fmt.Errorf("dial: %w", syscall.EMFILE)}
		s.Add("starved", h.checks(every(probe, time.Second, 1), every(probe, time.Second, 1)))
		stopped := probeFunc(func(ctx context.Context) error {
			time.Sleep(time.Minute) // As after a SIGSTOP: far beyond what a look may take.
			return ctx.Err()
		})
		s.Add("stopped", h.checks(every(stopped, time.Second, 1), Check{}))
		pass(10 * time.Minute)
		require.Empty(t, h.all())
		probe.be(errSick)
		pass(time.Minute)
		require.NotEmpty(t, h.all())
	})
}

func TestIdleInstancesCostNoGoroutine(t *testing.T) {
	s := NewScheduler()
	defer s.Close()
	before := runtime.NumGoroutine()
	for n := range 250 {
		s.Add(fmt.Sprint(n), (&heard{}).checks(every(&sick{}, time.Hour, 1), every(&sick{}, time.Hour, 1)))
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), before+2)
}

func TestClosedSchedulerSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		h := &heard{}
		began := make(chan struct{})
		hangs := probeFunc(func(ctx context.Context) error { close(began); <-ctx.Done(); return ctx.Err() })
		s.Add("i", h.checks(every(hangs, time.Second, 1), Check{}))
		<-began
		s.Close()
		pass(time.Minute)
		require.Empty(t, h.all())
	})
}

func TestOfFillsInAndLeavesTheProcessOut(t *testing.T) {
	require.Equal(t, Check{
		Probe: Port{Address: "127.0.0.1:1"}, Interval: 30 * time.Second, Timeout: time.Second, Threshold: 1,
	}, Of(api.HealthCheck{Type: api.CheckPort}, "127.0.0.1:1"))
	require.Equal(t, Check{
		Probe: Port{Address: "127.0.0.1:1"}, Interval: 2 * time.Second, Timeout: 3 * time.Second, Threshold: 4,
	}, Of(api.HealthCheck{Type: api.CheckPort, Interval: 2, InvocationTimeout: 3, Threshold: 4}, "127.0.0.1:1"))
	require.Nil(t, Of(api.StartMessage{}.Readiness(), "127.0.0.1:1").Probe)
	require.IsType(t, &HTTP{}, Of(api.HealthCheck{Type: api.CheckHTTP, Endpoint: "/"}, "127.0.0.1:1").Probe)
}

// TestUnreadyInstanceIsLookedAtSoon: no route leads there until it is seen to be ready.
func TestUnreadyInstanceIsLookedAtSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScheduler()
		defer s.Close()
		probe, h := &sick{err: errSick}, &heard{}
		checks := h.checks(Check{}, every(probe, 30*time.Second, 1))
		checks.Unready = true
		began := time.Now()
		s.Add("i", checks)
		pass(20 * time.Second)
		var after []time.Duration
		for _, at := range probe.times {
			after = append(after, at.Sub(began))
		}
		const half = 500 * time.Millisecond
		require.Equal(t, []time.Duration{0, half, 3 * half, 7 * half, 15 * half, 31 * half}, after)
		pass(10 * time.Minute)
		require.LessOrEqual(t, probe.looked(), 7+21, "no oftener than its interval in the end")
		require.Empty(t, h.all())
		probe.be(nil)
		pass(35 * time.Second)
		require.Equal(t, []string{"ready true: <nil>"}, h.all())
		was := probe.looked()
		pass(5 * time.Minute)
		require.InDelta(t, was+10, probe.looked(), 1)
	})
}
