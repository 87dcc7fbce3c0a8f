package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// networkBits is the size of a container's network, and addresses how many that are.
	networkBits = 30
	addresses   = 1 << (32 - networkBits)

	maxInstance = 8
	maxLinkName = unix.IFNAMSIZ - 1

	linkLetter = "w"
	ifbLetter  = "i"
	// peerName is the link in the container.
	peerName = "eth0"
	// chainPrefix comes before a container's address in the name of its chain.
	chainPrefix = "out-"
	// poolPrefix comes before the pool in the name of a chain that is there to tell which it is.
	poolPrefix = "pool-"
)

// names knows what everything of an instance is called.
type names struct {
	instance string
	pool     netip.Prefix
}

func newNames(instance string, pool netip.Prefix) (names, error) {
	if instance == "" || len(instance) > maxInstance || strings.Trim(instance, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return names{}, fmt.Errorf("instance name %q: it must be 1 to %d lower case letters and digits", instance, maxInstance)
	}
	if !pool.IsValid() || !pool.Addr().Is4() || pool.Bits() > networkBits {
		return names{}, fmt.Errorf("network pool %s: it must be an IPv4 network of at least %d addresses", pool, addresses)
	}
	n := names{instance: instance, pool: pool.Masked()}
	if last := n.linkName(n.size() - 1); len(last) > maxLinkName {
		return names{}, fmt.Errorf("network pool %s is too large: the last container's link would be called %s", pool, last)
	}
	return n, nil
}

// size is how many networks the pool has.
func (n names) size() uint32 { return 1 << (networkBits - n.pool.Bits()) }

func (n names) table() string            { return "wardend_" + n.instance }
func (n names) linkPrefix() string       { return linkLetter + n.instance + "-" }
func (n names) ifbPrefix() string        { return ifbLetter + n.instance + "-" }
func (n names) linkName(i uint32) string { return n.linkPrefix() + strconv.FormatUint(uint64(i), 16) }

func (n names) ifbName(i uint32) string     { return n.ifbPrefix() + strconv.FormatUint(uint64(i), 16) }
func chainName(container netip.Addr) string { return chainPrefix + container.String() }

func poolChain(pool netip.Prefix) string {
	return fmt.Sprintf("%s%s-%d", poolPrefix, pool.Addr(), pool.Bits())
}

// poolOf understands poolChain's name.
func poolOf(chain string) (netip.Prefix, bool) {
	text, ok := strings.CutPrefix(chain, poolPrefix)
	if !ok {
		return netip.Prefix{}, false
	}
	pool, err := netip.ParsePrefix(strings.Replace(text, "-", "/", 1))
	return pool, err == nil
}

// indexOfLink tells which network a link's name stands for; false when the link is not this instance's.
func (n names) indexOfLink(link string) (uint32, bool) {
	for _, prefix := range []string{n.linkPrefix(), n.ifbPrefix()} {
		if hex, ok := strings.CutPrefix(link, prefix); ok {
			i, err := strconv.ParseUint(hex, 16, 32)
			if err != nil || uint32(i) >= n.size() || prefix+strconv.FormatUint(i, 16) != link {
				return 0, false
			}
			return uint32(i), true
		}
	}
	return 0, false
}

// indexOf tells which of the pool's networks an address lies in.
func (n names) indexOf(address netip.Addr) (uint32, bool) {
	if !n.pool.Contains(address) {
		return 0, false
	}
	return (number(address) - number(n.pool.Addr())) / addresses, true
}

// slot is one container's place.
type slot struct {
	index     uint32
	host      netip.Addr
	container netip.Addr
	link      string
	ifb       string
}

func (n names) slotAt(index uint32) slot {
	base := number(n.pool.Addr()) + index*addresses
	return slot{
		index: index, host: address(base + 1), container: address(base + 2), //nolint:mnd // the protocol's
		link: n.linkName(index), ifb: n.ifbName(index),
	}
}

// slot finds the place of a network. It fails with ErrNotInPool.
func (n names) slot(network netip.Prefix) (slot, error) {
	if !network.IsValid() || network.Bits() != networkBits || network.Masked() != network || !n.pool.Contains(network.Addr()) {
		return slot{}, failed(ErrNotInPool, "network %s", network)
	}
	index, _ := n.indexOf(network.Addr())
	return n.slotAt(index), nil
}

func (s slot) network() netip.Prefix { return netip.PrefixFrom(s.host, networkBits).Masked() }

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
