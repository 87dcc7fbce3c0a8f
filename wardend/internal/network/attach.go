package network

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"github.com/google/nftables"
)

// Attach gives the container whose process has the pid its network: the link, addresses and route, and the right to
// send. The process must be in a network namespace of its own. Called again it mends what is missing and takes nothing
// away; when the process is another than before, the container is a new one, and links, ports and rules of the old
// are gone. After an error Detach cleans up.
func (n *Network) Attach(ctx context.Context, network netip.Prefix, pid int) error {
	s, err := n.slot(network)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	defer n.lock(s)()
	ns, err := n.openNamespace(pid)
	if err != nil {
		return failed(err, "container's process %d has no network that could be used", pid)
	}
	defer ns.Close()
	made, err := n.connect(ctx, s, ns)
	if err != nil {
		return failed(err, "container cannot be linked with network %s", network)
	}
	return failed(n.admit(ctx, s, made), "container cannot be let into network %s", network)
}

// admit lets a container send; nothing of one that had the network before applies to a new one.
func (n *Network) admit(ctx context.Context, s slot, isNew bool) error {
	b := n.book
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.commitLocked(ctx, func(c *nftables.Conn) error {
		if isNew {
			if err := b.forget(c, s); err != nil {
				return err
			}
		}
		return c.SetAddElements(b.links, linkElement(s))
	})
	if err != nil {
		return err
	}
	if isNew {
		b.forgotten(s)
	}
	b.have.links[s.index] = true
	return nil
}

// Detach takes away what a container has: the right to send, ports, rules, bandwidth and what conntrack remembers at
// once, its links within about a second. It can be called for what was half made or is gone, goes on after an error,
// and can be repeated.
func (n *Network) Detach(ctx context.Context, network netip.Prefix) error {
	s, err := n.slot(network)
	if err != nil {
		return err
	}
	defer n.lock(s)()
	b := n.book
	b.mu.Lock()
	err = b.commitLocked(ctx, func(c *nftables.Conn) error { return b.forget(c, s) })
	if err == nil {
		b.forgotten(s)
	}
	b.mu.Unlock()
	// After the rules: nothing of the container is remembered again.
	tracked := n.track.forget(s.container)
	links := n.reapLinks(s)
	return errors.Join(
		failed(err, "rules of network %s cannot be removed", network),
		failed(tracked, "connections of network %s cannot be forgotten", network),
		failed(links, "links of network %s cannot be removed", network),
	)
}

// connect makes and mends the link; true when it is new.
func (n *Network) connect(ctx context.Context, s slot, ns *os.File) (bool, error) {
	if err := n.reap.now(s.index); err != nil {
		return false, err
	}
	// Before there is a link: switching IPv6 off later costs the more the more containers there are.
	if err := n.inNamespace(ns, func() error { return withoutIPv6("default") }); err != nil {
		return false, err
	}
	link, made, err := n.makeLink(ctx, s, ns)
	if err != nil {
		return false, err
	}
	if err := n.setUpHost(link, s); err != nil {
		return made, err
	}
	if err := n.inNamespace(ns, func() error { return setUpContainer(link.Attrs().ParentIndex, s) }); err != nil {
		return made, err
	}
	return made, n.waitForCarrier(ctx, link)
}
