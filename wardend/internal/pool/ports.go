package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
)

const (
	maxPort = 65535
	// fewest is the smallest pool worth taking above the kernel's own range.
	fewest = 256
	// belowSize is how many ports are taken below it otherwise.
	belowSize = 5000
)

// ErrNoPort: every port of the pool is in use.
var ErrNoPort = errors.New("no port of the pool is free")

// Ports is a pool of TCP ports of this host. One that was released is given out again after all others.
type Ports struct {
	mu   sync.Mutex
	free []uint32
	used map[uint32]bool
	low  uint32
	high uint32
}

// NewPorts makes a pool of size ports from start.
func NewPorts(start, size uint32) (*Ports, error) {
	if start == 0 || size == 0 || start > maxPort || size > maxPort-start+1 {
		return nil, fmt.Errorf("port pool %d:%d: it must lie between 1 and %d", start, size, maxPort)
	}
	p := &Ports{used: map[uint32]bool{}, low: start, high: start + size - 1}
	for port := p.low; port <= p.high; port++ {
		p.free = append(p.free, port)
	}
	return p, nil
}

// DefaultRange lies above the ports that the kernel takes for outgoing connections, or below them when there is no
// room above.
func DefaultRange() (start, size uint32) {
	low, high := uint32(32768), uint32(60999)
	if raw, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if fields := strings.Fields(string(raw)); len(fields) == 2 { //nolint:mnd // low and high
			low, high = parsePort(fields[0], low), parsePort(fields[1], high)
		}
	}
	if high+fewest <= maxPort {
		return high + 1, maxPort - high
	}
	const unprivileged = 1024
	if low <= unprivileged+fewest {
		// The kernel has them all: then the pool shares the top.
		return maxPort - belowSize + 1, belowSize
	}
	size = min(belowSize, low-unprivileged)
	return low - size, size
}

func parsePort(s string, otherwise uint32) uint32 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return otherwise
	}
	return uint32(n)
}

// Acquire takes a port that nobody listens on at the moment. It fails with ErrNoPort when there is none.
func (p *Ports) Acquire(ctx context.Context) (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.free {
		port := p.free[0]
		p.free = p.free[1:]
		if canListen(ctx, port) {
			p.used[port] = true
			return port, nil
		}
		p.free = append(p.free, port)
	}
	return 0, ErrNoPort
}

func canListen(ctx context.Context, port uint32) bool {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", ":"+strconv.FormatUint(uint64(port), 10))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

// Take marks a port as used, if it is one of the pool's: a client named it, or a container had it before a restart.
// It says whether the port is now the caller's to release.
func (p *Ports) Take(port uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if port < p.low || port > p.high || p.used[port] {
		return false
	}
	for i, f := range p.free {
		if f == port {
			p.free = append(p.free[:i], p.free[i+1:]...)
			break
		}
	}
	p.used[port] = true
	return true
}

// Release gives ports back.
func (p *Ports) Release(ports ...uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, port := range ports {
		if p.used[port] {
			delete(p.used, port)
			p.free = append(p.free, port)
		}
	}
}
