package drain

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// ErrDenied is in the error of a drain whose address is one that no drain may have; see Networks.
var ErrDenied = errors.New("drains may not lead there")

// Networks say where drains may not lead. By themselves these are denied, as nobody but the node is meant to reach them:
//
//   - the loopback, and all addresses of the machine itself: what listens for the node alone mostly listens there;
//   - those of its containers, as far as they can be told: a /30 network of which the machine has the first address is Warden's,
//     and the second is the container's;
//   - link-local addresses and the others at which clouds keep metadata and credentials;
//   - what is no single host's: multicast, broadcast, unspecified and reserved addresses.
type Networks struct {
	// Denied are further ones.
	Denied []netip.Prefix
	// Allowed are not denied, whatever else is said of them. With 127.0.0.1 or ::1 among them the machine's own addresses are
	// allowed, too.
	Allowed []netip.Prefix
}

// standing are those networks that are denied by themselves and do not depend on the machine.
var standing = prefixes(
	"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
	"::/96", "fe80::/10", "ff00::/8", // the first has the loopback as well
	"100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::/32", "fd20:ce::/32", // metadata of Alibaba, Azure, AWS and Google
)

// throughNAT64 are IPv4 addresses as IPv6 ones for which a gateway stands (RFC 6052).
var throughNAT64 = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(all ...string) (parsed []netip.Prefix) {
	for _, text := range all {
		parsed = append(parsed, netip.MustParsePrefix(text))
	}
	return parsed
}

// egress says where drains may lead.
type egress struct {
	Networks
	// own are the addresses of this machine, with their networks.
	own func() ([]net.Addr, error)
}

// check looks at an address that a name has been resolved to.
func (e egress) check(address string) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%s: %w", address, ErrDenied)
	}
	ip := target.Addr().Unmap().WithZone("")
	if throughNAT64.Contains(ip) {
		inside := ip.As16()
		ip = netip.AddrFrom4([4]byte(inside[12:]))
	}
	switch {
	case within(e.Allowed, ip):
		return nil
	case within(e.Denied, ip), within(standing, ip), e.isOurs(ip):
		return fmt.Errorf("%s: %w", ip, ErrDenied)
	}
	return nil
}

func within(networks []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// isOurs tells whether an address is a container's or, where the loopback is not allowed, the machine's own. It is true
// also where that cannot be known.
func (e egress) isOurs(ip netip.Addr) bool {
	all, err := e.own()
	if err != nil {
		return true
	}
	machine := !within(e.Allowed, netip.AddrFrom4([4]byte{127, 0, 0, 1})) && !within(e.Allowed, netip.IPv6Loopback())
	return slices.ContainsFunc(all, func(a net.Addr) bool {
		own, err := netip.ParsePrefix(a.String())
		if err != nil {
			return false
		}
		first := own.Addr().Unmap().WithZone("")
		container := own.Bits() == containerBits && first.Is4() && first == own.Masked().Addr().Next() && ip == first.Next()
		return container || machine && ip == first
	})
}

// containerBits is the size of the network of one container.
const containerBits = 30
