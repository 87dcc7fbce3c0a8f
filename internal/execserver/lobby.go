package execserver

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

const (
	// maxWaiting bounds the connections of those who are not known yet.
	maxWaiting = 128
	// sourceBits is what one network of IPv6 has in common: whoever has one has all addresses in it.
	sourceBits = 64
)

// lobby has the connections of those who are not known yet. Where it is full, whoever has most of them loses his oldest: so he
// keeps nobody out but those at his own address, and these only as long as they take longer than he does to come again.
// It is safe for concurrent use.
type lobby struct {
	most int

	mu      sync.Mutex
	waiting []*guest // in the order in which they came
}

// guest is one connection.
type guest struct {
	connection net.Conn
	source     netip.Prefix
}

// enter lets a connection wait, until leave. Another one may be closed for it.
func (l *lobby) enter(connection net.Conn) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := &guest{connection, source(connection.RemoteAddr())}
	l.waiting = append(l.waiting, g)
	if len(l.waiting) > l.most {
		loser := l.loser()
		_ = l.waiting[loser].connection.Close()
		l.waiting = slices.Delete(l.waiting, loser, loser+1)
	}
	return func() { l.leave(g) }
}

// leave is for one that may have been closed before.
func (l *lobby) leave(g *guest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(other *guest) bool { return other == g })
}

// loser is the oldest of a source that has most.
func (l *lobby) loser() int {
	counts := map[netip.Prefix]int{}
	most := 0
	for _, g := range l.waiting {
		counts[g.source]++
		most = max(most, counts[g.source])
	}
	return slices.IndexFunc(l.waiting, func(g *guest) bool { return counts[g.source] == most })
}

// source is where a connection comes from, as far as that tells one from another.
func source(address net.Addr) netip.Prefix {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	prefix, _ := ip.Prefix(min(sourceBits, ip.BitLen())) // of no address: none
	return prefix
}
