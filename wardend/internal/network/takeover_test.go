package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOpenTakesOver(t *testing.T) {
	out := newOutside(t)
	require.NoError(t, writeSysctl("ipv4/ip_forward", "0"))
	first := open(t, "t1", testPool())
	forward, err := readSysctl("ipv4/ip_forward")
	require.NoError(t, err)
	require.Equal(t, "1", forward)
	a := attach(t, first, 0)
	fill(t, first, a, 61001)
	require.Empty(t, out.do(t, ask{Op: "hold", Address: hostAddress + ":61001"}).Err)
	require.Empty(t, a.do(t, ask{Op: "hold", Address: deniedAddress + ":8080"}).Err)
	a.reaches(t, "udp4", farOther+":8080")
	// What an older version might have had.
	command(t, "nft", "add", "chain", "ip", first.table(), "old", "{ type filter hook forward priority 5; policy drop; }")
	command(t, "nft", "add", "chain", "ip", first.table(), "older")
	command(t, "nft", "add", "rule", "ip", first.table(), "old", "jump", "older")
	command(t, "nft", "flush", "chain", "ip", first.table(), chainEgress)
	table := command(t, "nft", "list", "table", "ip", first.table())

	o := testOptions("t1", testPool())
	o.Deny = append(o.Deny, netip.MustParsePrefix(farOther+"/32"))
	second, err := Open(t.Context(), o)
	require.NoError(t, err)
	defer func() { require.NoError(t, second.Close()) }()
	require.Empty(t, out.do(t, ask{Op: "hold"}).Err, "nobody noticed")
	require.Empty(t, a.do(t, ask{Op: "hold"}).Err)
	a.refused(t, "tcp4", farOther+":8080")
	assert.NotContains(t, command(t, "nft", "list", "table", "ip", first.table()), "old")
	assert.Contains(t, table, "chain older")

	// It knows what a has.
	b := attach(t, second, 1)
	require.ErrorIs(t, second.NetIn(t.Context(), b.network, 61001, 8080), ErrPortTaken)
	require.NoError(t, second.NetIn(t.Context(), a.network, 61001, 8080))
	require.NoError(t, second.Attach(t.Context(), a.network, a.pid()))
	require.NoError(t, second.NetOut(t.Context(), a.network, rule4(deniedAddress, tcp)))
	assert.Equal(t, 1, strings.Count(command(t, "nft", "list", "chain", "ip", first.table(), chainName(a.address())), "comment"))
	require.NoError(t, second.LimitBandwidth(t.Context(), a.network, 20<<20, 1<<20))
	require.Empty(t, out.do(t, ask{Op: "hold"}).Err)
	require.Empty(t, a.do(t, ask{Op: "hold"}).Err)
	require.NoError(t, second.Detach(t.Context(), a.network))
	require.NotContains(t, command(t, "nft", "list", "table", "ip", first.table()), a.address().String())
}

func TestTwoInstances(t *testing.T) {
	out := newOutside(t)
	other := netip.MustParsePrefix("10.253.0.0/16")
	n, m := open(t, "t1", testPool()), open(t, "t1x", other)
	// The kernel remembers whom it told that something is prohibited: containers that no other test has.
	a, b := attach(t, n, 5000), attach(t, m, 5000)
	fill(t, n, a, 61001)
	fill(t, m, b, 61002)
	assert.Equal(t, hostAddress, a.reaches(t, "tcp4", deniedAddress+":8080"))
	assert.Equal(t, hostAddress, b.reaches(t, "tcp4", deniedAddress+":8080"))
	assert.Equal(t, outsideAddress, out.reaches(t, "tcp4", hostAddress+":61001"))
	assert.Equal(t, outsideAddress, out.reaches(t, "tcp4", hostAddress+":61002"))
	a.refused(t, "tcp4", b.at(port8080))
	b.refused(t, "tcp4", a.at(port8080))
	a.refused(t, "tcp4", hostAddress+":61002")
	require.NoError(t, n.NetOut(t.Context(), a.network, rule4(hostAddress, tcp, withPort(61002))))
	a.reaches(t, "tcp4", hostAddress+":61002")

	networks, err := n.Networks(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{a.network}, networks)
	require.NoError(t, n.Remove(t.Context()))
	require.NoError(t, n.Remove(t.Context()), "again")
	requireNothing(t, "t1-")
	assert.Equal(t, hostAddress, b.reaches(t, "tcp4", deniedAddress+":8080"))
	assert.Equal(t, outsideAddress, out.reaches(t, "tcp4", hostAddress+":61002"))
	assert.Contains(t, command(t, "ip", "route"), "unreachable 10.253.0.0/16")
	assert.NotContains(t, command(t, "ip", "route"), "unreachable 10.254.0.0/16")
}

func TestAnotherPool(t *testing.T) {
	n := open(t, "t1", testPool())
	a := attach(t, n, 0)
	other := netip.MustParsePrefix("10.253.0.0/16")
	_, err := Open(t.Context(), testOptions("t1", other))
	require.ErrorIs(t, err, ErrOtherPool)
	require.ErrorContains(t, err, a.address().String())
	require.NoError(t, n.Detach(t.Context(), a.network))
	m, err := Open(t.Context(), testOptions("t1", other))
	require.NoError(t, err)
	routes := command(t, "ip", "route")
	assert.Contains(t, routes, "unreachable "+other.String())
	assert.NotContains(t, routes, testPool().String())
	assert.NotContains(t, command(t, "nft", "list", "table", "ip", m.table()), "10.254")
	require.NoError(t, m.Remove(t.Context()))
	require.NoError(t, m.Close())
	assert.NotContains(t, command(t, "ip", "route"), "unreachable")
}
