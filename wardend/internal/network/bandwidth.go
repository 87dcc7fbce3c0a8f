package network

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/backend"
)

const (
	// tick is the kernel's unit of time for a bucket's depth, in nanoseconds.
	tick = 64
	// linkHeader is what a packet has beyond the MTU.
	linkHeader = 18
	// MinRate is the least bandwidth in bytes a second: it lets the deepest bucket that the kernel can express hold a
	// packet of any size.
	MinRate = 1024
	// latency is how long a packet may wait, as the inverse of seconds.
	latency = 20
	// largestPacket is what comes in one piece before the kernel cuts it for the wire.
	largestPacket = 65536 + linkHeader
	// fewest packets of the MTU's size that find room in the queue.
	fewest = 10
	// rootHandle is the name of the only queue on a link.
	rootHandle = 1 << 16
)

// LimitBandwidth limits what goes to the container, and what comes from it, to rate bytes a second each, with so many
// bytes at once as burst says. A burst below what one packet takes is raised to that. backend.UnlimitedBandwidth as
// rate takes the limit away. It can be changed while packets pass, and repeated. It fails with ErrBadLimit for a rate
// below 1 KiB a second, and with ErrNotAttached before Attach.
func (n *Network) LimitBandwidth(ctx context.Context, network netip.Prefix, rate, burst uint64) error {
	s, err := n.slot(network)
	if err != nil {
		return err
	}
	if rate < MinRate {
		return failed(ErrBadLimit, "%d bytes a second are less than %d", rate, MinRate)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	defer n.lock(s)()
	link, err := n.linkNamed(s.link)
	if err == nil && (link == nil || !n.book.attached(s)) { // a link may be there still that dies
		err = ErrNotAttached
	}
	if err == nil {
		if rate >= backend.UnlimitedBandwidth {
			err = n.unlimit(s, link)
		} else {
			err = n.limit(s, link, rate, burst)
		}
	}
	return failed(err, "bandwidth of network %s cannot be limited", network)
}

// bucket is the queue of a link that sends rate bytes a second.
func bucket(link netlink.Link, rate, burst uint64) *netlink.Tbf {
	mtu := uint64(max(link.Attrs().MTU, defaultMTU) + linkHeader) //nolint:gosec // positive
	burst = max(burst, mtu)
	queue := max(rate/latency, 2*min(burst, largestPacket), fewest*mtu) //nolint:mnd // one waits, one arrives
	return &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: rootHandle, Parent: netlink.HANDLE_ROOT},
		Rate:       rate,
		Limit:      uint32(min(queue, math.MaxUint32)), //nolint:gosec // bounded
		Buffer:     depth(rate, burst),
	}
}

// depth is how long a bucket of burst bytes takes to fill, in ticks, rounded so that no byte is lost.
func depth(rate, burst uint64) uint32 {
	const second = 1e9
	ticks := math.Ceil((float64(burst) + 1) / float64(rate) * second / tick)
	return uint32(min(ticks, math.MaxUint32))
}

func (n *Network) limit(s slot, link netlink.Link, rate, burst uint64) error {
	if err := n.links.QdiscReplace(bucket(link, rate, burst)); err != nil {
		return fmt.Errorf("queue of %s: %w", s.link, err)
	}
	ifb, err := n.ensureIFB(s, link)
	if err != nil {
		return fmt.Errorf("link %s: %w", s.ifb, err)
	}
	if err := n.links.QdiscReplace(bucket(ifb, rate, burst)); err != nil {
		return fmt.Errorf("queue of %s: %w", s.ifb, err)
	}
	if err := n.redirect(link, ifb); err != nil {
		return fmt.Errorf("packets of %s cannot be led by %s: %w", s.link, s.ifb, err)
	}
	return nil
}

func (n *Network) ensureIFB(s slot, link netlink.Link) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.ifb
	attrs.MTU = link.Attrs().MTU
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	if err := n.links.LinkAdd(&netlink.Ifb{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	ifb, err := n.links.LinkByName(s.ifb)
	if err != nil {
		return nil, err
	}
	if err := withoutIPv6(s.ifb); err != nil {
		return nil, err
	}
	return ifb, n.links.LinkSetUp(ifb)
}

func ingressOf(link netlink.Link) *netlink.Ingress {
	return &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS, //nolint:mnd // its only name
	}}
}

// redirect leads all that comes in by the link through the ifb, from which it comes back to the link.
func (n *Network) redirect(link, ifb netlink.Link) error {
	ingress := ingressOf(link)
	if err := n.links.QdiscAdd(ingress); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	filters, err := n.links.FilterList(link, ingress.Handle)
	if err != nil {
		return err
	}
	for _, f := range filters {
		if u32, ok := f.(*netlink.U32); ok && u32.RedirIndex == ifb.Attrs().Index {
			return nil
		}
	}
	return n.links.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: ingress.Handle, Priority: 1, Protocol: unix.ETH_P_ALL},
		RedirIndex:  ifb.Attrs().Index,
	})
}

func (n *Network) unlimit(s slot, link netlink.Link) error {
	var errs []error
	queues, err := n.links.QdiscList(link)
	errs = append(errs, err)
	for _, q := range queues {
		switch q.(type) {
		case *netlink.Tbf, *netlink.Ingress:
			errs = append(errs, n.links.QdiscDel(q))
		}
	}
	ifb, err := n.linkNamed(s.ifb)
	errs = append(errs, err)
	if ifb != nil {
		errs = append(errs, n.deleteLinks([]int{ifb.Attrs().Index}))
	}
	return errors.Join(errs...)
}
