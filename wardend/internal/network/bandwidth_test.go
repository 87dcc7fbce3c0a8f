package network

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/wardend/internal/backend"
)

func TestBandwidth(t *testing.T) {
	out := newOutside(t)
	n := open(t, "t1", testPool())
	a := attach(t, n, 0)
	require.NoError(t, n.NetIn(t.Context(), a.network, 61001, 8080))
	// speed is how many bytes a second go in one direction, after the burst.
	speed := func(direction string, count int64) float64 {
		begun := time.Now()
		got := a.do(t, ask{Op: "transfer", Args: []string{direction}, Address: farAddress + ":8080", Bytes: count})
		require.Empty(t, got.Err)
		return float64(count) / time.Since(begun).Seconds()
	}
	for _, c := range []struct {
		name        string
		rate, burst uint64
		count       int64
	}{
		{"one", 4 << 20, 64 << 10, 4 << 20},
		{"slower", 1 << 20, 1 << 17, 1 << 20},
		{"burst below a packet", 2 << 20, 1, 2 << 20},
		{"burst below a packet, fast", 64 << 20, 1, 8 << 20},
	} {
		require.NoError(t, n.LimitBandwidth(t.Context(), a.network, c.rate, c.burst), c.name)
		require.NoError(t, n.LimitBandwidth(t.Context(), a.network, c.rate, c.burst), c.name)
		for _, direction := range []string{"give", "take"} {
			got := speed(direction, c.count)
			assert.Less(t, got, 1.4*float64(c.rate), "%s: %s", c.name, direction)
			if c.rate < 64<<20 { // with one packet at once the timer is the limit
				assert.Greater(t, got, 0.5*float64(c.rate), "%s: %s", c.name, direction)
			}
			t.Logf("%s: %s %.2f of the rate", c.name, direction, got/float64(c.rate))
		}
	}
	b := attach(t, n, 1)
	begun := time.Now()
	require.Empty(t, b.do(t, ask{Op: "transfer", Args: []string{"give"}, Address: farAddress + ":8080", Bytes: 32 << 20}).Err)
	assert.Less(t, time.Since(begun), 2*time.Second, "others have no limit")

	require.NoError(t, n.LimitBandwidth(t.Context(), a.network, 1<<20, 1<<16))
	a.refused(t, "tcp4", deniedAddress+":8080")
	assert.Equal(t, outsideAddress, out.reaches(t, "tcp4", hostAddress+":61001"), "ports work as before")
	for range 2 {
		require.NoError(t, n.LimitBandwidth(t.Context(), a.network, backend.UnlimitedBandwidth, backend.UnlimitedBandwidth))
		for _, direction := range []string{"give", "take"} {
			assert.Greater(t, speed(direction, 32<<20), float64(16<<20), direction)
		}
	}
	assert.NotContains(t, command(t, "ip", "-o", "link"), a.ifb)
	assert.Equal(t, "qdisc noqueue 0: root refcnt 2", command(t, "tc", "qdisc", "show", "dev", a.link)[:30])
}

func TestBandwidthThatCannotBe(t *testing.T) {
	n := open(t, "t1", testPool())
	a := attach(t, n, 0)
	for _, rate := range []uint64{0, 1, MinRate - 1} {
		require.ErrorIs(t, n.LimitBandwidth(t.Context(), a.network, rate, 1<<20), ErrBadLimit)
	}
	require.ErrorIs(t, n.LimitBandwidth(t.Context(), n.slotAt(1).network(), 1<<20, 1<<20), ErrNotAttached)
	for _, c := range [][2]uint64{{MinRate, 1 << 62}, {backend.UnlimitedBandwidth - 1, 0}, {MinRate, 0}, {1 << 30, 1 << 32}} {
		require.NoError(t, n.LimitBandwidth(t.Context(), a.network, c[0], c[1]))
	}
	require.NoError(t, n.LimitBandwidth(t.Context(), a.network, 1<<40, 0), "as good as none")
	// The bucket holds a whole packet whatever the rate.
	link, err := n.linkNamed(a.link)
	require.NoError(t, err)
	for rate := uint64(MinRate); rate < 1<<34; rate = rate*3 + 1 {
		b := bucket(link, rate, 0)
		const second = 1e9
		assert.GreaterOrEqual(t, float64(b.Buffer)*tick*float64(rate)/second, float64(defaultMTU+linkHeader), "rate %d", rate)
		assert.NotZero(t, b.Limit)
	}
}
