package execserver

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNobodyIsKeptOutByThoseWhoOnlyConnect: however many connections one address has, in which it says nothing.
func TestNobodyIsKeptOutByThoseWhoOnlyConnect(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxSessions: 2})
	signer, line := newSigner(t)
	s.grants(line)
	early := s.dial("127.0.0.3")
	for range 2 * maxWaiting {
		s.dial("127.0.0.2")
	}
	for _, connection := range []net.Conn{early, s.dial("127.0.0.1"), s.dial("127.0.0.2")} {
		client, err := s.login(connection, signer)
		require.NoError(t, err)
		require.NoError(t, client.Close())
	}
}

// TestAKeyHasHalfOfAllConnections: whoever is let in keeps no other out.
func TestAKeyHasHalfOfAllConnections(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{MaxSessions: 1})
	one, ones := newSigner(t)
	other, others := newSigner(t)
	s.grants(ones, others)
	first, err := s.connect(one)
	require.NoError(t, err)
	for range maxConnections/2 - 1 {
		_, err = s.connect(one)
		require.NoError(t, err)
	}
	_, err = s.connect(one)
	require.Error(t, err)
	client, err := s.connect(one, other)
	require.NoError(t, err)
	require.NoError(t, begin(t, client).Run("true"))
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool {
		_, err := s.connect(one)
		return err == nil
	}, patience, 10*time.Millisecond)
}

// visitor is a connection from somewhere, which tells whether it was closed.
type visitor struct {
	net.Conn
	address net.Addr
	closed  bool
}

func (v *visitor) RemoteAddr() net.Addr { return v.address }
func (v *visitor) Close() error         { v.closed = true; return nil }

func TestWhoHasMostConnectionsLosesHisOldest(t *testing.T) {
	t.Parallel()
	l := lobby{most: 4}
	came := map[string]*visitor{}
	comes := func(name, ip string) func() {
		came[name] = &visitor{address: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}
		return l.enter(came[name])
	}
	lost := func(want ...string) {
		t.Helper()
		var names []string
		for name, v := range came {
			if v.closed {
				names = append(names, name)
			}
		}
		require.ElementsMatch(t, want, names)
		require.LessOrEqual(t, len(l.waiting), l.most)
	}
	comes("a1", "10.0.0.1")
	leaveB := comes("b1", "2001:db8::1")
	comes("b2", "2001:db8::ffff:1")
	comes("b3", "2001:db8::2")
	lost()
	comes("c1", "10.0.0.2")
	lost("b1")
	comes("b4", "2001:db8::3")
	lost("b1", "b2")
	leaveB() // of one that was closed
	comes("d1", "2001:db8:0:1::1")
	lost("b1", "b2", "b3")
	comes("e1", "::ffff:10.0.0.3") // all have one
	lost("b1", "b2", "b3", "a1")
	comes("c2", "::ffff:10.0.0.2")
	lost("b1", "b2", "b3", "a1", "c1")
}
