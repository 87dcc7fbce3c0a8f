package execserver

import (
	"math"
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
