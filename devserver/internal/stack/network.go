package stack

import (
	"fmt"
	"net/netip"
)

// nodeBits is the size of a node's address pool: a /22 has room for 256 containers of a /30 each.
const nodeBits = 22

// carve gives each of n nodes its own part of a network.
func carve(network string, n int) ([]netip.Prefix, error) {
	whole, err := netip.ParsePrefix(network)
	if err != nil || !whole.Addr().Is4() {
		return nil, fmt.Errorf("the network %q must be one of IPv4, such as 10.254.0.0/16", network)
	}
	whole = whole.Masked()
	if whole.Bits() > nodeBits || n > 1<<(nodeBits-whole.Bits()) {
		return nil, fmt.Errorf("the network %s has no room for %d nodes with a /%d each", network, n, nodeBits)
	}
	parts := make([]netip.Prefix, 0, n)
	first := whole.Addr().As4()
	start := uint32(first[0])<<24 | uint32(first[1])<<16 | uint32(first[2])<<8 | uint32(first[3])
	for i := range uint32(n) { //nolint:gosec // n is small, as checked above
		at := start + i<<(32-nodeBits)
		address := netip.AddrFrom4([4]byte{byte(at >> 24), byte(at >> 16), byte(at >> 8), byte(at)})
		parts = append(parts, netip.PrefixFrom(address, nodeBits))
	}
	return parts, nil
}
