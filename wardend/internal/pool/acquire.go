package pool

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/durable-dea/dea/internal/pause"
)

// remembered is how many released networks are kept in mind while there are some that were never used. A large pool
// would otherwise remember each of its networks, though all of them are long out of quarantine.
const remembered = 1 << 16

// ErrNetworksUsed: every network of the pool is in use. It is an ErrNoNetwork.
var ErrNetworksUsed = fmt.Errorf("%w: every one of the pool is in use", ErrNoNetwork)

// Acquire takes the network that has been unused for the longest time: the first that was never used, otherwise the
// first that was released. Where only such are free as were released just now, it waits for the first of them. It
// fails with ErrNetworksUsed, or with ErrNoNetwork and the context's error when ctx ends while it waits.
func (n *Networks) Acquire(ctx context.Context) (netip.Prefix, error) {
	for {
		index, wait, err := n.acquire()
		if err != nil {
			return netip.Prefix{}, err
		}
		if wait <= 0 {
			return n.network(index), nil
		}
		if !pause.For(ctx, wait) {
			return netip.Prefix{}, fmt.Errorf("%w: all that are free were in use until just now: %w", ErrNoNetwork, context.Cause(ctx))
		}
	}
}

// acquire takes a network, or says how long none can be had.
func (n *Networks) acquire() (index uint32, wait time.Duration, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.fresh < n.size && n.known(n.fresh) {
		n.fresh++
	}
	first := n.released.Front()
	if n.fresh < n.size && (n.released.Len() < remembered || n.remaining(first) > 0) {
		index = n.fresh
		n.fresh++
	} else if first == nil {
		return 0, 0, ErrNetworksUsed
	} else if wait = n.remaining(first); wait > 0 {
		return 0, wait, nil
	} else {
		index = first.Value.(release).number
	}
	n.take(index)
	return index, 0, nil
}
