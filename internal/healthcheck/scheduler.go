package healthcheck

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/durable-dea/dea/api"
)

// mostLooks is how many looks go on at once. A node has 250 containers, each with at most one liveness and one readiness
// look under way: not even when all of them are as slow as they may be does one wait for another.
const mostLooks = 512

// beats is how many moments of an interval looks fall due at, where it is at least leastBeats long: to wake the worker costs
// more than a look, so those that are due at about one time are made together.
const (
	beats      = 10
	leastBeats = 10 * time.Second
)

// stalled is how much longer than it may a look takes of which the machine, or a worker that was stopped, is to blame.
const stalled = time.Second

// Check is how one side of an instance's health is looked at.
type Check struct {
	// Probe is nil for a check that nothing is to be looked at for.
	Probe Probe
	// Interval is the time between two looks, Timeout how long one may take; both are more than 0.
	Interval, Timeout time.Duration
	// Threshold is how many looks in a row must fail, at least 1.
	Threshold int
}

// Of is the check of an instance at its own address, host:port. A check of the process is made by nobody: who waits for
// the process knows.
func Of(check api.HealthCheck, address string) Check {
	check = check.WithDefaults()
	c := Check{
		Probe: New(check, address), Timeout: Timeout(check),
		Interval: time.Duration(check.Interval) * time.Second, Threshold: check.Threshold,
	}
	if _, ok := c.Probe.(Process); ok {
		c.Probe = nil
	}
	return c
}

// Checks are those of one instance, and who hears of their changes. Both functions must return soon, and must not call
// the Scheduler.
type Checks struct {
	Liveness, Readiness Check
	// Unready is set for an instance that is not known to be ready: its readiness had failed already, or was not seen yet.
	Unready bool
	// Unhealthy is called once, when the liveness check has failed; err is the last look's. Nothing is looked at any more
	// then.
	Unhealthy func(err error)
	// Readied is called when the readiness check finds otherwise than before; err is the last look's, nil when ready.
	Readied func(ready bool, err error)
}

// Scheduler makes the looks of all instances of a node: one goroutine with a heap, and one for each look under way. It is
// safe for use by several goroutines.
type Scheduler struct {
	ctx     context.Context //nolint:containedctx // the scheduler's own life
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{}
	most    int
	// began is what beats are counted from: the machine's clock may be set.
	began time.Time

	mu        sync.Mutex
	instances map[string]*instance
	due       queue
	looks     int
}

// instance is one whose checks are made.
type instance struct {
	checks Checks
	// ctx ends when it is removed, or its liveness has failed.
	ctx    context.Context //nolint:containedctx // the instance's own life
	cancel context.CancelFunc

	// mu is held while the instance is judged and while somebody is told of it: whoever has had it after cancel is told
	// nothing any more.
	mu      sync.Mutex
	unready bool
}

// firstPause is between the first two looks at the readiness of an instance that is not known to be ready: its routes wait
// for it. It doubles to the check's interval.
const firstPause = 500 * time.Millisecond

// task is one check of one instance, in the heap or under way.
type task struct {
	of       *instance
	check    Check
	liveness bool
	// failures are the looks in a row that failed; guarded by of.mu.
	failures int
	// eager is the pause before the next look at an instance that was not ready from the beginning; 0 once it was.
	eager time.Duration
}

// NewScheduler begins to look at nothing yet. It is to be closed.
func NewScheduler() *Scheduler { return newScheduler(mostLooks) }

func newScheduler(most int) *Scheduler {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Scheduler{
		ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1), most: most, began: time.Now(), instances: map[string]*instance{},
	}
	s.running.Go(s.run)
	return s
}

// Close ends all looks and waits for them. Nobody is told of anything afterwards.
func (s *Scheduler) Close() {
	s.cancel()
	s.running.Wait()
}

// Add begins to look at an instance that is well, in place of what was looked at under its id. Its first looks are
// somewhere in their intervals: instances that were added at once are not looked at in one instant. The readiness of one
// that is unready is looked at right away, and then soon again, until it is ready.
func (s *Scheduler) Add(id string, checks Checks) {
	s.Remove(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := &instance{checks: checks, unready: checks.Unready}
	i.ctx, i.cancel = context.WithCancel(s.ctx)
	s.instances[id] = i
	for _, t := range []*task{{of: i, check: checks.Liveness, liveness: true}, {of: i, check: checks.Readiness}} {
		if t.check.Probe == nil {
			continue
		}
		at := time.Now()
		if checks.Unready && !t.liveness {
			t.eager = firstPause
		} else {
			at = s.first(t.check.Interval)
		}
		s.push(t, at)
	}
}

// push puts a task into the heap, and has run wait for it if nothing is due before.
func (s *Scheduler) push(t *task, at time.Time) {
	if s.due.add(t, at) {
		s.stir()
	}
}

// first is somewhere in the interval that begins, never at once.
func (s *Scheduler) first(interval time.Duration) time.Time {
	if interval < leastBeats {
		return time.Now().Add(rand.N(interval))
	}
	beat := interval / beats
	return s.onBeat(beat+rand.N(interval), beat)
}

// after is the moment at the end of an interval: on a beat before or after it, by chance, so that intervals are right in the
// mean and looks that fell together part again.
func (s *Scheduler) after(interval time.Duration) time.Time {
	pause := around(interval)
	if interval < leastBeats {
		return time.Now().Add(pause)
	}
	beat := interval / beats
	return s.onBeat(pause+rand.N(beat), beat)
}

// onBeat is the last beat before the end of a pause.
func (s *Scheduler) onBeat(pause, beat time.Duration) time.Time {
	return s.began.Add((time.Since(s.began) + pause).Truncate(beat))
}

// Remove ends the looks at an instance. When it returns nobody is told of the instance any more. One that is not there
// is no fault.
func (s *Scheduler) Remove(id string) {
	s.mu.Lock()
	i, ok := s.instances[id]
	if ok {
		delete(s.instances, id)
		i.cancel()
		s.due.drop(i)
	}
	s.mu.Unlock()
	if ok {
		i.mu.Lock() // Whoever is being told has been told then.
		defer i.mu.Unlock()
	}
}

// stir has run look at the heap again.
func (s *Scheduler) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run begins each look when it is due.
func (s *Scheduler) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if next, some := s.begin(time.Now()); some {
			timer.Reset(next)
		} else {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
	}
}

// begin starts what is due, and says how long it is until the next. With as many looks under way as may be there is no
// next until one ends.
func (s *Scheduler) begin(now time.Time) (next time.Duration, some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.due) > 0 && s.looks < s.most {
		if wait := s.due[0].at.Sub(now); wait > 0 {
			return wait, true
		}
		t := s.due.take()
		s.looks++
		s.running.Go(func() { s.look(t) })
	}
	return 0, false
}

// look makes one look, and puts the task back into the heap unless there is nothing more to look at.
func (s *Scheduler) look(t *task) {
	ctx, cancel := context.WithTimeout(t.of.ctx, t.check.Timeout)
	began := time.Now()
	err := t.check.Probe.Probe(ctx)
	cancel()
	if err == nil {
		t.eager = 0
	}
	goesOn := true
	if inconclusive := err != nil && (ownFault(err) || time.Since(began) > t.check.Timeout+stalled); !inconclusive {
		goesOn = t.judge(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looks == s.most { // Nothing else was begun meanwhile.
		s.stir()
	}
	s.looks--
	if goesOn && t.of.ctx.Err() == nil {
		s.push(t, s.next(t))
	}
}

// next is when to look again.
func (s *Scheduler) next(t *task) time.Time {
	soon := t.eager
	t.eager *= 2
	if soon == 0 || soon >= t.check.Interval {
		t.eager = 0
		return s.after(t.check.Interval)
	}
	return time.Now().Add(soon)
}

// around is an interval a twentieth shorter to a twentieth longer, so that looks which fell together part again.
func around(d time.Duration) time.Duration {
	spread := d / 20
	return d - spread + rand.N(2*spread+1)
}

// judge counts a look, and tells of a change that it makes. It says whether to look again.
func (t *task) judge(err error) bool {
	i := t.of
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ctx.Err() != nil {
		return false
	}
	if err == nil {
		t.failures = 0
	} else {
		t.failures++
	}
	bad := t.failures >= t.check.Threshold
	switch {
	case t.liveness && bad:
		i.cancel()
		i.checks.Unhealthy(err)
		return false
	case t.liveness:
	case bad && !i.unready, err == nil && i.unready:
		i.unready = bad
		i.checks.Readied(!bad, err)
	}
	return true
}
