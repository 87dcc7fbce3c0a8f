package pool

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

// NetworkBits is the size of a container's network: a /30, the host's address and the container's.
const NetworkBits = 30

// Quarantine is how long a released network is not given out again, so that packets of the container that had it do
// not reach the next.
const Quarantine = 5 * time.Second

// ErrNoNetwork: the network is outside of the pool, or in use, or was until just now.
var ErrNoNetwork = errors.New("network cannot be had")

// Networks is a pool of /30 networks.
type Networks struct {
	pool netip.Prefix
	now  func() time.Time

	mu       sync.Mutex
	used     map[netip.Prefix]bool
	released map[netip.Prefix]time.Time
}

// NewNetworks makes a pool of an IPv4 network of at least NetworkBits' size. Now is the clock; time.Now when nil.
func NewNetworks(pool netip.Prefix, now func() time.Time) (*Networks, error) {
	if !pool.Addr().Is4() || pool.Bits() > NetworkBits {
		return nil, errors.New("network pool must be an IPv4 network of at least four addresses")
	}
	if now == nil {
		now = time.Now
	}
	return &Networks{pool: pool.Masked(), now: now, used: map[netip.Prefix]bool{}, released: map[netip.Prefix]time.Time{}}, nil
}

// Take takes the network that an address lies in. It fails with ErrNoNetwork.
func (n *Networks) Take(address netip.Addr) (netip.Prefix, error) {
	if !n.pool.Contains(address) {
		return netip.Prefix{}, ErrNoNetwork
	}
	network := netip.PrefixFrom(address, NetworkBits).Masked()
	n.mu.Lock()
	defer n.mu.Unlock()
	if at, ok := n.released[network]; ok && n.now().Sub(at) < Quarantine {
		return netip.Prefix{}, ErrNoNetwork
	}
	if n.used[network] {
		return netip.Prefix{}, ErrNoNetwork
	}
	n.used[network] = true
	return network, nil
}

// Release gives a network back; one that is not valid is none.
func (n *Networks) Release(network netip.Prefix) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.used[network] {
		delete(n.used, network)
		n.released[network] = n.now()
	}
}
