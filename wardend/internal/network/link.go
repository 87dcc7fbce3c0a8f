package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	defaultMTU = 1500
	// loopback is the index that the kernel gives lo in every namespace.
	loopback = 1
)

// anywhere is never routed but by the default route: an address for documentation.
func anywhere() net.IP { return net.IPv4(203, 0, 113, 1) } //nolint:mnd // TEST-NET-3

// mtu is what the host's way to the world lets through at once; the containers' packets need no fragments then.
func (n *Network) mtu() int {
	routes, err := n.links.RouteGet(anywhere())
	if err != nil || len(routes) == 0 || routes[0].LinkIndex == 0 {
		return defaultMTU
	}
	if routes[0].MTU > 0 {
		return routes[0].MTU
	}
	link, err := n.links.LinkByIndex(routes[0].LinkIndex)
	if err != nil || link.Attrs().MTU <= 0 {
		return defaultMTU
	}
	return link.Attrs().MTU
}

// makeLink makes the pair, its other end in the container at once, or finds the one that is there. What belongs to
// another namespace is a dead container's and is removed.
func (n *Network) makeLink(ctx context.Context, s slot, ns *os.File) (link netlink.Link, made bool, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.link
	attrs.MTU = n.mtu()
	// One queue: the kernel would make one a processor, each with files in sysfs.
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	veth := netlink.NewVeth(attrs)
	veth.PeerName = peerName
	veth.PeerNamespace = netlink.NsFd(int(ns.Fd()))
	err = n.links.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) {
		link, err = n.findLink(s, ns)
		if link != nil || err != nil {
			return link, false, err
		}
		// Or the other end's name is taken, by a link that Detach left to die in this same namespace.
		if err = n.removeNow(ctx, s); err != nil {
			return nil, false, err
		}
		err = n.links.LinkAdd(veth)
	}
	if err != nil {
		return nil, false, fmt.Errorf("link %s: %w", s.link, err)
	}
	link, err = n.links.LinkByName(s.link)
	return link, true, err
}

// findLink finds the pair whose other end is in the namespace; nil when there is none or its other end is elsewhere.
func (n *Network) findLink(s slot, ns *os.File) (netlink.Link, error) {
	link, err := n.linkNamed(s.link)
	if link == nil || err != nil {
		return nil, err
	}
	id, err := n.links.GetNetNsIdByFd(int(ns.Fd()))
	if err != nil {
		return nil, err
	}
	if _, ok := link.(*netlink.Veth); !ok || id < 0 || link.Attrs().NetNsID != id {
		return nil, nil
	}
	return link, nil
}

// linkNamed is nil when there is no such link.
func (n *Network) linkNamed(name string) (netlink.Link, error) {
	link, err := n.links.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	return link, err
}

func (n *Network) setUpHost(link netlink.Link, s slot) error {
	// Without this the kernel takes no answer to a connection that came from 127.0.0.1. What a container itself sends
	// there is refused.
	if err := writeSysctl("ipv4/conf/"+s.link+"/route_localnet", "1"); err != nil {
		return err
	}
	if err := withoutIPv6(s.link); err != nil {
		return err
	}
	if err := n.links.AddrReplace(link, addr(s.host)); err != nil {
		return fmt.Errorf("address %s: %w", s.host, err)
	}
	return n.links.LinkSetUp(link)
}

// waitForCarrier waits until the host's end sends. It was up before its other end; the kernel notices that one a moment
// later, and drops packets until then: the container's first connection would wait a second for its next try.
func (n *Network) waitForCarrier(ctx context.Context, link netlink.Link) error {
	// Somebody who removes many links keeps the kernel from noticing for longer than other things take.
	const tries = 1000
	return persistFor(ctx, tries, func() error {
		now, err := n.links.LinkByIndex(link.Attrs().Index)
		if err == nil && now.Attrs().OperState != netlink.OperUp {
			err = fmt.Errorf("link %s: no carrier: %w", link.Attrs().Name, unix.EAGAIN)
		}
		return err
	})
}

// setUpContainer runs in the container's namespace.
func setUpContainer(index int, s slot) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index, Name: peerName}}
	if err := h.AddrReplace(link, addr(s.container)); err != nil {
		return fmt.Errorf("address %s: %w", s.container, err)
	}
	for _, i := range []int{loopback, index} {
		if err := h.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: i}}); err != nil {
			return fmt.Errorf("link %d in the container: %w", i, err)
		}
	}
	if err := h.RouteReplace(&netlink.Route{LinkIndex: index, Gw: s.host.AsSlice()}); err != nil {
		return fmt.Errorf("route by %s: %w", s.host, err)
	}
	return nil
}

func addr(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(networkBits, lenAddress*8)}}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), lenAddress*8)}
}
