package oci

import (
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestClaims: of two wardends that live, no two give out the same addresses or ports in one network namespace.
func TestClaims(t *testing.T) {
	dir := t.TempDir()
	take := func(name string, c claim) (*nameLock, error) {
		t.Helper()
		l, err := lockName(t.Context(), dir, name, "/depots/"+name)
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.file.Close() })
		if err := l.claim(c); err != nil {
			require.NoError(t, l.Close())
			return nil, err
		}
		return l, nil
	}
	pool := netip.MustParsePrefix
	first, err := take("first", claim{Namespace: "net:[1]", Pool: pool("10.0.0.0/22"), PortStart: 61000, PortSize: 100})
	require.NoError(t, err)

	_, err = take("pool", claim{Namespace: "net:[1]", Pool: pool("10.0.2.0/24")})
	require.ErrorIs(t, err, ErrClaimed)
	require.NotErrorIs(t, err, ErrUnusable)
	require.ErrorContains(t, err, "--pool-network 10.0.2.0/24")
	require.ErrorContains(t, err, "/depots/first")
	_, err = take("ports", claim{Namespace: "net:[1]", Pool: pool("10.0.4.0/22"), PortStart: 61099, PortSize: 1})
	require.ErrorIs(t, err, ErrClaimed)
	require.ErrorContains(t, err, "--port-pool 61099:1")

	_, err = take("beside", claim{Namespace: "net:[1]", Pool: pool("10.0.8.0/22"), PortStart: 61100, PortSize: 100})
	require.NoError(t, err)
	_, err = take("elsewhere", claim{Namespace: "net:[2]", Pool: pool("10.0.0.0/22"), PortStart: 61000, PortSize: 100})
	require.NoError(t, err)
	_, err = take("noports", claim{Namespace: "net:[1]", Pool: pool("10.0.12.0/22")})
	require.NoError(t, err)

	require.NoError(t, first.file.Close(), "it is killed: its file stays")
	_, err = os.Stat(first.file.Name())
	require.NoError(t, err)
	_, err = take("next", claim{Namespace: "net:[1]", Pool: pool("10.0.0.0/22"), PortStart: 61000, PortSize: 50})
	require.NoError(t, err)
}
