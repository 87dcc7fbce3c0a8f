package network

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAHostPortIsAPublicService(t *testing.T) {
	out := newOutside(t)
	n := open(t, "t1", testPool())
	a, b := attach(t, n, 0), attach(t, n, 1)
	hostListens(t, "61001") // it is shadowed
	require.NoError(t, n.NetIn(t.Context(), a.network, 61001, 8080))
	require.NoError(t, n.NetIn(t.Context(), a.network, 61001, 8080), "again")

	assert.Equal(t, outsideAddress, out.reaches(t, "tcp4", hostAddress+":61001"), "the container sees its client")
	assert.Equal(t, hostAddress, hostReaches(t, "tcp4", hostAddress+":61001"))
	assert.Equal(t, a.host.String(), hostReaches(t, "tcp4", "127.0.0.1:61001"), "loopback is the gateway's")
	assert.Equal(t, a.host.String(), hostReaches(t, "tcp4", "127.8.8.8:61001"))
	assert.NotEmpty(t, hostReaches(t, "tcp4", a.host.String()+":61001"))
	assert.NotEmpty(t, hostReaches(t, "tcp4", b.host.String()+":61001"))
	hostListens(t, "61002")
	require.NoError(t, n.NetIn(t.Context(), a.network, 61002, 9999)) // of which it serves neither TCP nor UDP
	_, err := dial("tcp4", hostAddress+":61002")
	require.ErrorContains(t, err, "connection refused", "by the container")
	assert.Equal(t, hostAddress, hostReaches(t, "udp4", hostAddress+":61002"), "UDP goes to the host's own service")
	require.NoError(t, n.NetIn(t.Context(), a.network, 9090, 9999))
	assert.Equal(t, hostAddress, hostReaches(t, "tcp4", farAddress+":9090"), "others' ports are theirs")
	assert.Equal(t, hostAddress, b.reaches(t, "tcp4", farAddress+":9090"))

	// Containers are not outside.
	for _, c := range []*container{a, b} {
		c.refused(t, "tcp4", hostAddress+":61001")
		c.refused(t, "tcp4", c.host.String()+":61001")
	}
	// A rule for the container's address opens that, not the port.
	require.NoError(t, n.NetOut(t.Context(), b.network, rule4(a.address().String(), tcp)))
	b.reaches(t, "tcp4", a.at(port8080))
	b.refused(t, "tcp4", hostAddress+":61001")
	// A rule for the host's address and port opens the port, to oneself too.
	for _, c := range []*container{a, b} {
		require.NoError(t, n.NetOut(t.Context(), c.network, rule4(hostAddress, tcp, withPort(61001))))
		assert.Equal(t, a.host.String(), c.reaches(t, "tcp4", hostAddress+":61001"))
		c.refused(t, "udp4", hostAddress+":61001")
	}
}

func TestAPortIsOneContainers(t *testing.T) {
	n := open(t, "t1", testPool())
	a, b := attach(t, n, 0), attach(t, n, 1)
	require.NoError(t, n.NetIn(t.Context(), a.network, 61001, 8080))
	err := n.NetIn(t.Context(), b.network, 61001, 8080)
	require.ErrorIs(t, err, ErrPortTaken)
	var taken *PortTakenError
	require.ErrorAs(t, err, &taken)
	require.Equal(t, netip.AddrPortFrom(a.address(), 8080), taken.Holder)
	require.ErrorIs(t, n.NetIn(t.Context(), a.network, 61001, 8081), ErrPortTaken)
	require.ErrorContains(t, n.NetIn(t.Context(), a.network, 0, 8080), "between 1 and")
	require.ErrorContains(t, n.NetIn(t.Context(), a.network, 61002, 0), "between 1 and")
	require.ErrorIs(t, n.NetIn(t.Context(), n.slotAt(7).network(), 61003, 1), ErrNotAttached)

	require.NoError(t, n.Detach(t.Context(), a.network))
	require.NoError(t, n.NetIn(t.Context(), b.network, 61001, 8080), "free again")
	require.Equal(t, b.host.String(), hostReaches(t, "tcp4", "127.0.0.1:61001"))
	require.ErrorIs(t, n.NetIn(t.Context(), a.network, 61002, 8080), ErrNotAttached)
}

func TestManyPortsOfOneContainer(t *testing.T) {
	n := open(t, "t1", testPool())
	a := attach(t, n, 0)
	for p := uint16(20000); p < 20000+2*elementsAtOnce+1; p++ {
		require.NoError(t, n.NetIn(t.Context(), a.network, p, p))
	}
	require.NoError(t, n.Detach(t.Context(), a.network))
	require.NotContains(t, command(t, "nft", "list", "map", "ip", n.table(), mapPorts), a.address().String())
}
