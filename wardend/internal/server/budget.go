package server

import (
	"errors"
	"sync/atomic"
)

// errNoRoom is for the client: the request itself may be right.
var errNoRoom = errors.New("other requests take all of it now, try again")

// budget is how many bytes are left. Who finds too few is refused and does not wait: those that have them may be
// clients that never send the rest.
type budget struct{ left atomic.Int64 }

func newBudget(bytes int64) *budget {
	b := &budget{}
	b.left.Store(bytes)
	return b
}

func (b *budget) take(bytes int) error {
	if b.left.Add(-int64(bytes)) < 0 {
		b.give(bytes)
		return errNoRoom
	}
	return nil
}

func (b *budget) give(bytes int) { b.left.Add(int64(bytes)) }
