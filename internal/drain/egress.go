package drain

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// ErrDenied is in the error of a drain whose address is one that no drain may have; see Options.Denied.
var ErrDenied = errors.New("drains may not lead there")

// egress says where drains may lead.
type egress struct {
	denied []netip.Prefix
	// own are the addresses of this machine.
	own func() ([]net.Addr, error)
}

// check looks at an address that a name has been resolved to. One of the machine's own is as good as its loopback: what
// listens for the node alone mostly listens there.
func (e egress) check(address string) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%s: %w", address, ErrDenied)
	}
	ip := target.Addr().Unmap().WithZone("")
	if e.denies(ip) || e.deniesLoopback() && e.isOwn(ip) {
		return fmt.Errorf("%s: %w", ip, ErrDenied)
	}
	return nil
}

func (e egress) denies(ip netip.Addr) bool {
	return slices.ContainsFunc(e.denied, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// deniesLoopback tells whether either of its usual addresses is denied: by the other, or by no address at all, which the
// kernel takes for the loopback, the same servers are reached.
func (e egress) deniesLoopback() bool {
	return e.denies(netip.AddrFrom4([4]byte{127, 0, 0, 1})) || e.denies(netip.IPv6Loopback())
}

// isOwn is true also where that cannot be known.
func (e egress) isOwn(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	all, err := e.own()
	return err != nil || slices.ContainsFunc(all, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap().WithZone("") == ip
	})
}
