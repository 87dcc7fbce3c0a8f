package ports_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/devserver/internal/ports"
)

func TestRowHasNoPortTwice(t *testing.T) {
	row, err := ports.NewRow(7233, 3, 50)
	require.NoError(t, err)
	seen := map[int]string{}
	for _, named := range row.Named() {
		require.NotContains(t, seen, named.Port, named.Name)
		seen[named.Port] = named.Name
	}
	for n := range 3 {
		start, size := row.Pool(n)
		for port := start; port < start+size; port++ {
			require.NotContains(t, seen, port)
			seen[port] = "pool"
		}
	}
	require.Equal(t, "Temporal", seen[7233])
}

func TestRowThatDoesNotFitIsRefused(t *testing.T) {
	_, err := ports.NewRow(65000, 3, 200)
	require.ErrorContains(t, err, "do not fit")
	_, err = ports.NewRow(7233, -1, 200)
	require.ErrorContains(t, err, "nodes")
	_, err = ports.NewRow(7233, 1, 0)
	require.ErrorContains(t, err, "at least 1 port")
}

func TestCheckNamesEveryPortInUse(t *testing.T) {
	free, err := ports.Find(t.TempDir(), 0, 1, 10)
	require.NoError(t, err)
	defer func() { require.NoError(t, free.Close()) }()
	for _, port := range []int{free.UI(), free.Files(0)} {
		listener, err := net.Listen("tcp", ports.Address(port))
		require.NoError(t, err)
		defer func() { _ = listener.Close() }()
	}
	err = free.Check()
	require.ErrorContains(t, err, "(Temporal UI)")
	require.ErrorContains(t, err, "(files of node 1)")
	require.NotContains(t, err.Error(), "(codec server)")
}

func TestFindGivesDifferentRowsUntilClosed(t *testing.T) {
	locks := t.TempDir()
	first, err := ports.Find(locks, 0, 1, 600)
	require.NoError(t, err)
	second, err := ports.Find(locks, first.Temporal(), 0, 10)
	require.NoError(t, err)
	_, size := first.Pool(0)
	require.Greater(t, second.Temporal(), first.Temporal()+size)
	require.NoError(t, first.Close())
	again, err := ports.Find(locks, 0, 1, 600)
	require.NoError(t, err)
	require.Equal(t, first.Temporal(), again.Temporal())
	require.NoError(t, again.Close())
	require.NoError(t, second.Close())
}

func TestFindPrefersTheRowOfLastTime(t *testing.T) {
	locks := t.TempDir()
	first, err := ports.Find(locks, 0, 0, 10)
	require.NoError(t, err)
	second, err := ports.Find(locks, 0, 0, 10)
	require.NoError(t, err)
	require.NoError(t, first.Close())
	require.NoError(t, second.Close())
	again, err := ports.Find(locks, second.Temporal()+3, 0, 10)
	require.NoError(t, err)
	require.Equal(t, second.Temporal()+3, again.Temporal())
	require.NoError(t, again.Close())
}
