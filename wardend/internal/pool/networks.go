package pool

import (
	"container/list"
	"encoding/binary"
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

// Networks is a pool of /30 networks. Each is in use, or was released, or was never used. Every operation takes the
// same time however large the pool is.
type Networks struct {
	pool netip.Prefix
	size uint32
	now  func() time.Time

	mu   sync.Mutex
	used map[uint32]struct{}
	// released has the numbers and times of those released, the first released first; place finds one there.
	released *list.List
	place    map[uint32]*list.Element
	// fresh: all numbers below it are in use or were released. From it on, Take may have taken some.
	fresh uint32
}

type release struct {
	number uint32
	at     time.Time
}

// NewNetworks makes a pool of an IPv4 network of at least NetworkBits' size. Now is the clock; time.Now when nil.
func NewNetworks(pool netip.Prefix, now func() time.Time) (*Networks, error) {
	if !pool.Addr().Is4() || pool.Bits() < 0 || pool.Bits() > NetworkBits {
		return nil, errors.New("network pool must be an IPv4 network of at least four addresses")
	}
	if now == nil {
		now = time.Now
	}
	return &Networks{
		pool: pool.Masked(), size: 1 << (NetworkBits - pool.Bits()), now: now,
		used: map[uint32]struct{}{}, released: list.New(), place: map[uint32]*list.Element{},
	}, nil
}

// Index is the number of a network in the pool, from 0; false if it is none of the pool's /30 networks. It depends on
// the pool's own network only, not on what is in use.
func (n *Networks) Index(network netip.Prefix) (uint32, bool) {
	if network.Bits() != NetworkBits || !n.pool.Contains(network.Addr()) {
		return 0, false
	}
	return (number(network.Addr()) - number(n.pool.Addr())) >> (32 - NetworkBits), true
}

// network is the one with an index.
func (n *Networks) network(index uint32) netip.Prefix {
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], number(n.pool.Addr())+index<<(32-NetworkBits))
	return netip.PrefixFrom(netip.AddrFrom4(raw), NetworkBits)
}

func number(address netip.Addr) uint32 {
	raw := address.As4()
	return binary.BigEndian.Uint32(raw[:])
}

// known says whether a network is in use or was released.
func (n *Networks) known(index uint32) bool {
	if _, used := n.used[index]; used {
		return true
	}
	return n.place[index] != nil
}

// remaining is how long a released network cannot be had yet; not positive when it can.
func (n *Networks) remaining(e *list.Element) time.Duration {
	return Quarantine - n.now().Sub(e.Value.(release).at)
}

func (n *Networks) take(index uint32) {
	if e := n.place[index]; e != nil {
		n.released.Remove(e)
		delete(n.place, index)
	}
	n.used[index] = struct{}{}
}

// Take takes the network that an address lies in. It fails with ErrNoNetwork.
func (n *Networks) Take(address netip.Addr) (netip.Prefix, error) {
	network := netip.PrefixFrom(address, NetworkBits).Masked()
	index, ok := n.Index(network)
	if !ok {
		return netip.Prefix{}, ErrNoNetwork
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.place[index]; e != nil && n.remaining(e) > 0 {
		return netip.Prefix{}, ErrNoNetwork
	}
	if _, used := n.used[index]; used {
		return netip.Prefix{}, ErrNoNetwork
	}
	n.take(index)
	return network, nil
}

// Adopt takes the network of a container that has it already: one that was found after a restart, or whose removal
// failed. It may have been released just now, since nobody else has had it. It fails with ErrNoNetwork if the
// network is none of the pool's, or another container's: two must not be released as one.
func (n *Networks) Adopt(network netip.Prefix) error {
	index, ok := n.Index(network)
	if !ok {
		return ErrNoNetwork
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, used := n.used[index]; used {
		return ErrNoNetwork
	}
	n.take(index)
	return nil
}

// Release gives a network back; one that is not valid, or not in use, is none.
func (n *Networks) Release(network netip.Prefix) {
	index, ok := n.Index(network)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, used := n.used[index]; !used {
		return
	}
	delete(n.used, index)
	n.place[index] = n.released.PushBack(release{number: index, at: n.now()})
}
