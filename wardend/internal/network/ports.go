package network

import (
	"context"
	"fmt"
	"maps"
	"net/netip"

	"github.com/google/nftables"
)

// NetIn gives TCP connections to a port of the host, on any of its addresses, to a port of the container. Ports are
// from 1 to 65535. It can be repeated. It fails with ErrPortTaken when the host port leads elsewhere already, and with
// ErrNotAttached before Attach.
func (n *Network) NetIn(ctx context.Context, network netip.Prefix, hostPort, containerPort uint16) error {
	s, err := n.slot(network)
	if err != nil {
		return err
	}
	if hostPort == 0 || containerPort == 0 {
		return failed(fmt.Errorf("ports are between 1 and %d", 1<<16-1), "host port %d cannot lead to port %d", hostPort, containerPort)
	}
	defer n.lock(s)()
	target := netip.AddrPortFrom(s.container, containerPort)
	b := n.book
	b.mu.Lock()
	defer b.mu.Unlock()
	err = b.commitLocked(ctx, func(c *nftables.Conn) error {
		if !b.have.links[s.index] {
			return ErrNotAttached
		}
		if holder, ok := b.have.ports.target[hostPort]; ok && holder != target {
			return &PortTakenError{HostPort: hostPort, Holder: holder}
		}
		return c.SetAddElements(b.ports, []nftables.SetElement{portElement(hostPort, target)})
	})
	if err == nil {
		b.have.ports.add(hostPort, target)
	}
	return failed(err, "host port %d cannot lead to %s", hostPort, target)
}

// portBook knows where host ports lead.
type portBook struct {
	target map[uint16]netip.AddrPort
	// of are the host ports that lead to a container.
	of map[netip.Addr][]uint16
}

func newPortBook() portBook {
	return portBook{target: map[uint16]netip.AddrPort{}, of: map[netip.Addr][]uint16{}}
}

func (b portBook) add(host uint16, target netip.AddrPort) {
	if _, known := b.target[host]; !known {
		b.of[target.Addr()] = append(b.of[target.Addr()], host)
	}
	b.target[host] = target
}

func (b portBook) forget(container netip.Addr) {
	for _, host := range b.of[container] {
		delete(b.target, host)
	}
	delete(b.of, container)
}

func (b portBook) clone() portBook {
	return portBook{target: maps.Clone(b.target), of: maps.Clone(b.of)}
}
