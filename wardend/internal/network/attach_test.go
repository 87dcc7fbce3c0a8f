package network

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAttachGivesWhatAContainerNeeds(t *testing.T) {
	newOutside(t)
	n := open(t, "t1", testPool())
	c := attach(t, n, 0x2a)
	assert.Equal(t, "wt1-2a", c.link)
	require.Equal(t, "10.254.0.168/30", c.network.String())
	assert.Equal(t, "10.254.0.169", c.host.String())

	look := func() {
		host := command(t, "ip", "addr", "show", "dev", c.link)
		assert.Contains(t, host, "inet 10.254.0.169/30")
		assert.Contains(t, host, "mtu 1400", "as the link to the world")
		assert.NotContains(t, host, "inet6")
		inside := c.run(t, "ip", "addr")
		assert.Contains(t, inside, "inet 10.254.0.170/30")
		assert.Contains(t, inside, "mtu 1400")
		assert.Contains(t, inside, "inet 127.0.0.1/8")
		assert.NotContains(t, inside, "fe80", "no IPv6 but on loopback")
		assert.Equal(t, 2, strings.Count(inside, "state U"), "lo (unknown) and eth0 (up)")
		assert.Contains(t, c.run(t, "ip", "route"), "default via 10.254.0.169 dev eth0")
		assert.NotEmpty(t, hostReaches(t, "tcp4", c.at(port8080)))
	}
	look()
	require.NoError(t, n.Attach(t.Context(), c.network, c.pid()))
	look()
	for _, args := range [][]string{{"ip", "addr", "flush", "dev", "eth0"}, {"ip", "link", "set", "eth0", "down"}} {
		c.run(t, args...)
	}
	command(t, "ip", "addr", "flush", "dev", c.link)
	require.NoError(t, n.Attach(t.Context(), c.network, c.pid()), "it mends")
	look()
	networks, err := n.Networks(t.Context())
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{c.network}, networks)
}

func TestWithoutARouteToTheWorld(t *testing.T) {
	n := open(t, "t1", testPool())
	c := attach(t, n, 0)
	assert.Contains(t, c.run(t, "ip", "link", "show", "dev", "eth0"), "mtu 1500")
}

func TestAttachRefuses(t *testing.T) {
	n := open(t, "t1", testPool())
	node := startNode(t)
	for _, bad := range []string{"10.254.0.0/29", "10.254.0.1/30", "10.255.0.0/30", "fd00::/30", "10.254.0.0/16"} {
		p := netip.MustParsePrefix(bad)
		require.ErrorIs(t, n.Attach(t.Context(), p, node.pid()), ErrNotInPool, bad)
		require.ErrorIs(t, n.Detach(t.Context(), p), ErrNotInPool, bad)
		require.ErrorIs(t, n.NetIn(t.Context(), p, 1, 1), ErrNotInPool, bad)
		require.ErrorIs(t, n.NetOut(t.Context(), p, rule4("10.0.0.1", all)), ErrNotInPool, bad)
		require.ErrorIs(t, n.LimitBandwidth(t.Context(), p, 1<<20, 1<<20), ErrNotInPool, bad)
	}
	require.ErrorIs(t, n.Attach(t.Context(), netip.Prefix{}, node.pid()), ErrNotInPool)
	s := n.slotAt(0)
	require.ErrorContains(t, n.Attach(t.Context(), s.network(), os.Getpid()), "no network namespace of its own")
	node.kill()
	require.ErrorIs(t, n.Attach(t.Context(), s.network(), node.pid()), os.ErrNotExist)
	networks, err := n.Networks(t.Context())
	require.NoError(t, err)
	require.Empty(t, networks)
}

func TestNamesThatCannotBe(t *testing.T) {
	pool := testPool()
	for _, bad := range []string{"", "ninechars", "Upper", "a-b", "a.b", "ä"} {
		_, err := Open(t.Context(), Options{Instance: bad, Pool: pool})
		require.ErrorContains(t, err, "instance name", "%q", bad)
	}
	for _, bad := range []string{"10.0.0.0/31", "fd00::/16"} {
		_, err := Open(t.Context(), Options{Instance: "t1", Pool: netip.MustParsePrefix(bad)})
		require.ErrorContains(t, err, "network pool", "%q", bad)
	}
	_, err := newNames("eightchr", netip.MustParsePrefix("10.0.0.0/8"))
	require.ErrorContains(t, err, "too large")
	n, err := newNames("eightchr", netip.MustParsePrefix("10.0.0.0/10"))
	require.NoError(t, err)
	last := n.slotAt(n.size() - 1)
	require.Len(t, last.link, maxLinkName)
	require.Equal(t, "10.63.255.252/30", last.network().String())
	for _, name := range []string{last.link, last.ifb} {
		i, ok := n.indexOfLink(name)
		require.True(t, ok)
		require.Equal(t, last.index, i)
	}
	for _, other := range []string{"weightchr-", "weightchr-g", "weightchr-01", "weightchr-100000", "weightch-1", "xeightchr-1", "weightchr-+1"} {
		_, ok := n.indexOfLink(other)
		require.False(t, ok, other)
	}
}

func TestAnAddressOfNobodyStaysHere(t *testing.T) {
	newOutside(t) // it has 10.254.0.2, and would answer
	n := open(t, "t1", testPool())
	_, err := dial("tcp4", "10.254.0.2:8080")
	require.ErrorContains(t, err, "no route to host")
	c := attach(t, n, 0)
	require.NotEmpty(t, hostReaches(t, "tcp4", c.at(port8080)))
	c.kill()
	require.Eventually(t, func() bool {
		_, err := dial("tcp4", c.at(port8080))
		return err != nil && strings.Contains(err.Error(), "no route to host")
	}, patience, atOnce/50, "when the container is dead, before anybody cleaned up")
	require.NoError(t, n.Remove(t.Context()))
	require.Equal(t, hostAddress, hostReaches(t, "tcp4", "10.254.0.2:8080"), "the route made the difference")
}
