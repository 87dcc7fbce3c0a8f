package pool

import (
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPorts(t *testing.T) {
	start := uint32(0)
	var p *Ports
	for start == 0 { // three that are free
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr, ok := l.Addr().(*net.TCPAddr)
		require.True(t, ok)
		require.NoError(t, l.Close())
		if addr.Port > 60000 {
			continue
		}
		p, err = NewPorts(uint32(addr.Port), 3)
		require.NoError(t, err)
		if canListen(t.Context(), p.low) && canListen(t.Context(), p.low+1) && canListen(t.Context(), p.low+2) {
			start = p.low
		}
	}
	acquire := func() uint32 {
		t.Helper()
		port, err := p.Acquire(t.Context())
		require.NoError(t, err)
		return port
	}
	require.Equal(t, start, acquire())
	p.Release(start, start, start+9) // twice, and one that was never given out
	require.Equal(t, start+1, acquire(), "a released one comes last")

	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(int(start+2)))
	require.NoError(t, err)
	require.Equal(t, start, acquire(), "one that somebody listens on is passed over")
	_, err = p.Acquire(t.Context())
	require.ErrorIs(t, err, ErrNoPort)
	require.NoError(t, l.Close())
	require.Equal(t, start+2, acquire())

	require.False(t, p.Take(start), "in use")
	require.False(t, p.Take(start+3), "not of the pool")
	p.Release(start)
	require.True(t, p.Take(start))
	_, err = p.Acquire(t.Context())
	require.ErrorIs(t, err, ErrNoPort)
}

func TestPortRanges(t *testing.T) {
	for _, c := range [][2]uint32{{0, 1}, {1, 0}, {65535, 2}, {65536, 1}, {1, 1 << 31}} {
		_, err := NewPorts(c[0], c[1])
		require.Error(t, err, "%v", c)
	}
	_, err := NewPorts(65535, 1)
	require.NoError(t, err)
	start, size := DefaultRange()
	_, err = NewPorts(start, size)
	require.NoError(t, err)
}

func TestNetworks(t *testing.T) {
	now := time.Unix(1000, 0)
	n, err := NewNetworks(netip.MustParsePrefix("10.254.0.0/24"), func() time.Time { return now })
	require.NoError(t, err)
	network, err := n.Take(netip.MustParseAddr("10.254.0.7"))
	require.NoError(t, err)
	require.Equal(t, "10.254.0.4/30", network.String())
	for _, refused := range []string{"10.254.0.4", "10.254.0.5", "10.254.1.0", "::1"} {
		_, err := n.Take(netip.MustParseAddr(refused))
		require.ErrorIs(t, err, ErrNoNetwork, refused)
	}
	n.Release(network)
	n.Release(netip.Prefix{})
	now = now.Add(Quarantine - 1)
	_, err = n.Take(netip.MustParseAddr("10.254.0.4"))
	require.ErrorIs(t, err, ErrNoNetwork, "too early")
	now = now.Add(1)
	_, err = n.Take(netip.MustParseAddr("10.254.0.4"))
	require.NoError(t, err)

	for _, bad := range []string{"10.0.0.0/31", "fd00::/64"} {
		_, err := NewNetworks(netip.MustParsePrefix(bad), nil)
		require.Error(t, err)
	}
	_, err = NewNetworks(netip.Prefix{}, nil)
	require.Error(t, err)
}
