package execserver

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// idleness ends what nothing happens in.
type idleness struct {
	timeout time.Duration
	last    atomic.Int64
	timer   *time.Timer
	begun   time.Time
}

// newIdleness calls end once when nothing has stirred for so long; 0 is never.
func newIdleness(timeout time.Duration, end func()) *idleness {
	i := &idleness{timeout: timeout, begun: time.Now()}
	if timeout <= 0 {
		return i
	}
	i.timer = time.AfterFunc(math.MaxInt64, func() { // begun below, when it is known here
		if left := timeout - (time.Since(i.begun) - time.Duration(i.last.Load())); left > 0 {
			i.timer.Reset(left)
			return
		}
		end()
	})
	i.timer.Reset(timeout)
	return i
}

func (i *idleness) stir() { i.last.Store(int64(time.Since(i.begun))) }

func (i *idleness) stop() {
	if i.timer != nil {
		i.timer.Stop()
	}
}

// unused ends what has no session for some time.
type unused struct {
	mu       sync.Mutex
	most     time.Duration
	sessions int
	timer    *time.Timer
}

// newUnused calls end, perhaps more than once, when there has been no session for so long.
func newUnused(most time.Duration, end func()) *unused {
	return &unused{most: most, timer: time.AfterFunc(most, end)}
}

func (u *unused) enter() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sessions++
	u.timer.Stop()
}

func (u *unused) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sessions--; u.sessions == 0 {
		u.timer.Reset(u.most)
	}
}

func (u *unused) stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.timer.Stop()
}
