package network

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// fill gives a container everything that it can have.
func fill(tb testing.TB, n *Network, c *container, hostPort uint16) {
	tb.Helper()
	require.NoError(tb, n.NetIn(context.Background(), c.network, hostPort, 8080))
	require.NoError(tb, n.NetOut(context.Background(), c.network, rule4(deniedAddress, tcp)))
	require.NoError(tb, n.LimitBandwidth(context.Background(), c.network, 10<<20, 1<<20))
}

// tracked are conntrack's connections with an address.
func connections(tb testing.TB, address netip.Addr) []*netlink.ConntrackFlow {
	tb.Helper()
	all, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	require.NoError(tb, err)
	var found []*netlink.ConntrackFlow
	for _, f := range all {
		if f.Forward.SrcIP.String() == address.String() || f.Reverse.SrcIP.String() == address.String() {
			found = append(found, f)
		}
	}
	return found
}

func TestDetachTakesEverything(t *testing.T) {
	out := newOutside(t)
	n := open(t, "t1", testPool())
	a, b := attach(t, n, 0), attach(t, n, 1)
	fill(t, n, a, 61001)
	fill(t, n, b, 61002)
	a.reaches(t, "tcp4", deniedAddress+":8080")
	require.Empty(t, out.do(t, ask{Op: "hold", Address: hostAddress + ":61001"}).Err)
	require.Empty(t, out.do(t, ask{Op: "hold"}).Err)
	require.NotEmpty(t, connections(t, a.address()))

	require.NoError(t, n.Detach(t.Context(), a.network))
	assert.NotEmpty(t, out.do(t, ask{Op: "hold"}).Err, "the open connection is dead")
	assert.NotEmpty(t, a.dial(t, "udp4", farAddress+":8080").Err, "what still runs can send nothing")
	assert.NotEmpty(t, out.dial(t, "tcp4", hostAddress+":61001").Err)
	assert.Empty(t, connections(t, a.address()))
	table := command(t, "nft", "list", "table", "ip", n.table())
	assert.NotContains(t, table, a.address().String())
	assert.NotContains(t, table, "61001")
	networks, err := n.Networks(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{b.network}, networks)
	require.NoError(t, n.Detach(t.Context(), a.network), "again")
	require.NoError(t, n.Detach(t.Context(), n.slotAt(77).network()), "never was")
	require.Eventually(t, func() bool {
		for _, name := range []string{a.link, a.ifb} {
			if l, err := n.linkNamed(name); l != nil || err != nil {
				return false
			}
		}
		return true
	}, 5*grace, grace/20, "though its namespace lives")

	// The other did not notice.
	assert.Equal(t, hostAddress, b.reaches(t, "tcp4", deniedAddress+":8080"))
	assert.Equal(t, outsideAddress, out.reaches(t, "tcp4", hostAddress+":61002"))
}

func TestTheNextContainerInheritsNothing(t *testing.T) {
	out := newOutside(t)
	n := open(t, "t1", testPool())
	for _, detached := range []bool{true, false} {
		a := attach(t, n, 0)
		fill(t, n, a, 61001)
		require.Empty(t, out.do(t, ask{Op: "hold", Address: hostAddress + ":61001"}).Err)
		if detached {
			require.NoError(t, n.Detach(t.Context(), a.network)) // its link is there for a second
		}
		b := attach(t, n, 0) // while a lives
		b.refused(t, "tcp4", deniedAddress+":8080")
		assert.NotEmpty(t, out.dial(t, "tcp4", hostAddress+":61001").Err)
		require.NoError(t, n.NetIn(t.Context(), b.network, 61001, 8080))
		assert.Equal(t, outsideAddress, out.reaches(t, "tcp4", hostAddress+":61001"))
		assert.NotContains(t, command(t, "tc", "qdisc", "show", "dev", b.link), "tbf")
		assert.NotContains(t, a.run(t, "ip", "link"), peerName)
		require.NoError(t, n.Detach(t.Context(), b.network))
	}
}

func TestHalfOfAContainer(t *testing.T) {
	n := open(t, "t1", testPool())
	for name, half := range map[string]func(c *container){
		"link only":    func(c *container) { command(t, "nft", "flush", "set", "ip", n.table(), setLinks) },
		"element only": func(c *container) { command(t, "ip", "link", "del", c.link) },
		"ifb only": func(c *container) {
			command(t, "ip", "link", "del", c.link)
			command(t, "nft", "flush", "set", "ip", n.table(), setLinks)
		},
		"chain not called": func(c *container) { command(t, "nft", "flush", "map", "ip", n.table(), mapRules) },
	} {
		a := attach(t, n, 3)
		fill(t, n, a, 61001)
		half(a)
		again, err := Open(t.Context(), testOptions("t1", testPool()))
		require.NoError(t, err, name)
		networks, err := again.Networks(t.Context())
		require.NoError(t, err, name)
		require.Equal(t, []netip.Prefix{a.network}, networks, name)
		require.NoError(t, again.Detach(t.Context(), a.network), name)
		require.NoError(t, again.Close(), name)
		require.NotContains(t, command(t, "nft", "list", "table", "ip", n.table()), a.address().String(), name)
		require.NotContains(t, command(t, "ip", "-o", "link"), "t1-", name)
		_, err = n.book.read(t.Context()) // n learns what the other did
		require.NoError(t, err)
	}
}

func TestKernelsThatCannotFindConnections(t *testing.T) {
	newOutside(t)
	n := open(t, "t1", testPool())
	a, b := attach(t, n, 0), attach(t, n, 1)
	for _, c := range []*container{a, b} {
		c.reaches(t, "tcp4", farAddress+":8080")
		require.NotEmpty(t, hostReaches(t, "tcp4", c.at(port8080)))
		require.GreaterOrEqual(t, len(connections(t, c.address())), 2)
	}
	require.NoError(t, n.track.forgetByList(a.address()))
	require.Empty(t, connections(t, a.address()))
	require.NotEmpty(t, connections(t, b.address()))
}

func TestDetachIsQuick(t *testing.T) {
	n := open(t, "t1", testPool())
	a := attach(t, n, 0)
	begun := time.Now()
	require.NoError(t, n.Detach(t.Context(), a.network))
	require.Less(t, time.Since(begun), grace/2)
	require.NoError(t, n.Close())
	require.NotContains(t, command(t, "ip", "-o", "link"), a.link, "Close waits for the links")
}
