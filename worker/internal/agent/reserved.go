package agent

import (
	"context"
	"sync"
	"time"

	"github.com/durable-dea/dea/api"
)

const (
	// ledgerAge is how old an answer of the ledger may be: whoever waits for a directory asks again and again.
	ledgerAge = time.Second
	// ledgerTimeout is how long a reader waits for the ledger.
	ledgerTimeout = 5 * time.Second
)

// reservations are what the node's ledger holds room for, asked for once a second at most. It is safe for concurrent use.
type reservations struct {
	ask func(context.Context) (api.NodeStatus, error)

	mu    sync.Mutex
	asked time.Time
	ids   map[string]bool
	err   error
}

// holds tells whether room is held for an instance's or a staging's handle; its error is the ledger's, which could not be
// asked.
func (r *reservations) holds(ctx context.Context, handle string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) > ledgerAge {
		// The answer is for others, too: it does not end with the one who asked first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerTimeout)
		defer cancel()
		var ledger api.NodeStatus
		ledger, r.err = r.ask(ctx)
		r.asked, r.ids = time.Now(), make(map[string]bool, len(ledger.Reservations))
		for _, reservation := range ledger.Reservations {
			r.ids[reservation.ID] = true
		}
	}
	return r.ids[handle], r.err
}
