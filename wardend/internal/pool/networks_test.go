package pool

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// newPool makes a pool with a clock that stands until it is moved.
func newPool(t testing.TB, network string) (*Networks, *time.Time) {
	t.Helper()
	now := time.Unix(1000, 0)
	n, err := NewNetworks(netip.MustParsePrefix(network), func() time.Time { return now })
	require.NoError(t, err)
	return n, &now
}

func acquire(t testing.TB, n *Networks) string {
	t.Helper()
	network, err := n.Acquire(t.Context())
	require.NoError(t, err)
	return network.String()
}

func TestAcquireLongestUnused(t *testing.T) {
	n, now := newPool(t, "10.254.0.77/28")
	_, err := n.Take(netip.MustParseAddr("10.254.0.69")) // the second, as a client asks
	require.NoError(t, err)
	require.Equal(t, "10.254.0.64/30", acquire(t, n))
	require.Equal(t, "10.254.0.72/30", acquire(t, n), "one in use is passed over")
	n.Release(netip.MustParsePrefix("10.254.0.72/30"))
	*now = now.Add(time.Second)
	n.Release(netip.MustParsePrefix("10.254.0.64/30"))
	*now = now.Add(Quarantine)
	require.Equal(t, "10.254.0.76/30", acquire(t, n), "never used")
	require.Equal(t, "10.254.0.72/30", acquire(t, n), "released first")
	require.Equal(t, "10.254.0.64/30", acquire(t, n))
	_, err = n.Acquire(t.Context())
	require.ErrorIs(t, err, ErrNetworksUsed)
	require.ErrorIs(t, err, ErrNoNetwork)
	n.Release(netip.MustParsePrefix("10.254.0.76/30"))
	n.Release(netip.MustParsePrefix("10.254.0.76/30"))
	*now = now.Add(Quarantine)
	require.Equal(t, "10.254.0.76/30", acquire(t, n), "released twice is one")
	_, err = n.Acquire(t.Context())
	require.ErrorIs(t, err, ErrNetworksUsed)
}

func TestAcquireWaitsForTheQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := NewNetworks(netip.MustParsePrefix("10.254.0.0/29"), nil)
		require.NoError(t, err)
		one, two := netip.MustParsePrefix(acquire(t, n)), netip.MustParsePrefix(acquire(t, n))
		n.Release(two)
		time.Sleep(time.Second)
		n.Release(one)
		start := time.Now()

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n.Acquire(short)
		require.ErrorIs(t, err, ErrNoNetwork)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrNetworksUsed)
		require.Equal(t, time.Second, time.Since(start))

		var got sync.Map
		for range 2 {
			go func() {
				network, err := n.Acquire(t.Context())
				if err == nil {
					got.Store(network, time.Since(start))
				}
			}()
		}
		time.Sleep(Quarantine)
		synctest.Wait()
		after, ok := got.Load(two)
		require.True(t, ok)
		require.Equal(t, Quarantine-time.Second, after, "not a moment later than it must")
		after, ok = got.Load(one)
		require.True(t, ok)
		require.Equal(t, Quarantine, after)

		// One waits, and the last is taken from under it.
		n.Release(one)
		failed := make(chan error, 1)
		go func() {
			_, err := n.Acquire(t.Context())
			failed <- err
		}()
		synctest.Wait()
		require.NoError(t, n.Adopt(one))
		require.ErrorIs(t, <-failed, ErrNetworksUsed)
	})
}

func TestAdopt(t *testing.T) {
	n, _ := newPool(t, "10.254.0.0/29")
	network := netip.MustParsePrefix("10.254.0.4/30")
	require.NoError(t, n.Adopt(network))
	require.ErrorIs(t, n.Adopt(network), ErrNoNetwork, "another container's")
	n.Release(network)
	_, err := n.Take(network.Addr())
	require.ErrorIs(t, err, ErrNoNetwork)
	require.NoError(t, n.Adopt(network), "in quarantine")
	require.Equal(t, "10.254.0.0/30", acquire(t, n))
	_, err = n.Acquire(t.Context())
	require.ErrorIs(t, err, ErrNetworksUsed)
	for _, other := range []string{"10.254.0.8/30", "10.254.0.0/29", "10.254.0.0/31", "fd00::/30"} {
		require.ErrorIs(t, n.Adopt(netip.MustParsePrefix(other)), ErrNoNetwork, other)
	}
	require.ErrorIs(t, n.Adopt(netip.Prefix{}), ErrNoNetwork)
}

func TestIndex(t *testing.T) {
	n, _ := newPool(t, "10.254.3.255/22")
	for network, want := range map[string]uint32{"10.254.0.0/30": 0, "10.254.0.6/30": 1, "10.254.3.252/30": 255} {
		index, ok := n.Index(netip.MustParsePrefix(network))
		require.True(t, ok, network)
		require.Equal(t, want, index)
		require.Equal(t, netip.MustParsePrefix(network).Masked(), n.network(index))
	}
	for _, other := range []string{"10.254.4.0/30", "10.253.255.252/30", "10.254.0.0/29", "10.254.0.0/32", "::ffff:10.254.0.0/126"} {
		_, ok := n.Index(netip.MustParsePrefix(other))
		require.False(t, ok, other)
	}
	_, ok := n.Index(netip.Prefix{})
	require.False(t, ok)

	whole, err := NewNetworks(netip.MustParsePrefix("0.0.0.0/0"), nil)
	require.NoError(t, err)
	index, ok := whole.Index(netip.MustParsePrefix("255.255.255.252/30"))
	require.True(t, ok)
	require.EqualValues(t, 1<<30-1, index)
	require.Equal(t, "255.255.255.252/30", whole.network(index).String())
}

// TestNoNetworkIsGivenTwice does at random what servers do.
func TestNoNetworkIsGivenTwice(t *testing.T) {
	n, now := newPool(t, "10.254.0.0/24")
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	used, released := map[netip.Prefix]bool{}, map[netip.Prefix]time.Time{}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	took := func(network netip.Prefix, quarantined bool) {
		require.False(t, used[network])
		if at, ok := released[network]; ok && !quarantined {
			require.GreaterOrEqual(t, now.Sub(at), Quarantine)
		}
		used[network] = true
	}
	for range 20_000 {
		*now = now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
		some := n.network(random.Uint32N(n.size))
		switch random.IntN(5) {
		case 0:
			if network, err := n.Take(some.Addr().Next()); err == nil {
				require.Equal(t, some, network)
				took(network, false)
			}
		case 1:
			if n.Adopt(some) == nil {
				took(some, true)
			}
		case 2:
			if network, err := n.Acquire(ended); err == nil {
				took(network, false)
			} else if len(used) == int(n.size) {
				require.ErrorIs(t, err, ErrNetworksUsed)
			} else {
				require.ErrorIs(t, err, context.Canceled)
			}
		default:
			if used[some] {
				delete(used, some)
				released[some] = *now
			}
			n.Release(some)
		}
		require.Len(t, n.used, len(used))
		require.Len(t, n.place, n.released.Len())
	}
}

func TestLargePoolRemembersLittle(t *testing.T) {
	n, now := newPool(t, "10.0.0.0/8")
	var first string
	for i := range remembered + 1000 {
		network := acquire(t, n)
		if i == 0 {
			first = network
		}
		if i == remembered {
			require.Equal(t, first, network, "the first released")
		}
		n.Release(netip.MustParsePrefix(network))
		*now = now.Add(time.Millisecond)
	}
	require.Equal(t, remembered, n.released.Len())
	require.Len(t, n.place, remembered)
}

func BenchmarkNetworks(b *testing.B) {
	n, now := newPool(b, "10.0.0.0/8")
	for range 1 << 20 {
		acquire(b, n)
	}
	for b.Loop() {
		network, err := n.Acquire(b.Context())
		require.NoError(b, err)
		n.Release(network)
		*now = now.Add(time.Millisecond)
	}
}
