package oci

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/layers"
)

func TestDepotKeepsItsNames(t *testing.T) {
	pool, other := netip.MustParsePrefix("10.254.0.0/22"), netip.MustParsePrefix("10.200.0.0/22")
	depot := t.TempDir()
	fresh := Options{Depot: depot, Pool: pool}
	former, err := fresh.settle()
	require.NoError(t, err)
	require.Nil(t, former)
	require.Regexp(t, "^[a-z0-9]{8}$", fresh.Instance, "made of the path")
	require.NoFileExists(t, filepath.Join(depot, recordName), "nothing is written before all works")
	require.NoError(t, fresh.write())
	require.Equal(t, pool, DepotPool(depot))

	again := Options{Depot: depot, Pool: pool}
	former, err = again.settle()
	require.NoError(t, err)
	require.Nil(t, former)
	require.Equal(t, fresh.Instance, again.Instance)

	for _, o := range []Options{{Depot: depot, Pool: pool, Instance: "other"}, {Depot: depot, Pool: other}} {
		former, err := o.settle()
		require.NoError(t, err)
		require.Equal(t, &depotRecord{Version: recordVersion, Instance: fresh.Instance, Pool: pool}, former, "what is to be freed")
	}
	require.NoError(t, os.MkdirAll(filepath.Join(depot, "containers", "x"), 0o755))
	for flag, o := range map[string]Options{"--name": {Depot: depot, Pool: pool, Instance: "other"}, "--pool-network": {Depot: depot, Pool: other}} {
		_, err := o.settle()
		require.ErrorContains(t, err, flag)
	}
	kept := Options{Depot: depot, Pool: pool, Scratch: "btrfs"}
	_, err = kept.settle()
	require.NoError(t, err, "package scratch judges that")
	require.Equal(t, fresh.Instance, kept.Instance)

	for _, damaged := range []string{"", "{}", `{"version":1,"instance":"x"}`, `{"version":2,"instance":"x","pool":"10.0.0.0/8"}`} {
		require.NoError(t, os.WriteFile(filepath.Join(depot, recordName), []byte(damaged), 0o600))
		_, err := kept.settle()
		require.ErrorContains(t, err, "is damaged")
		require.False(t, DepotPool(depot).IsValid())
	}
}

// TestDepotThatIsMounted: a server that ends unmounts what it has mounted itself, and nothing of the operator's.
func TestDepotThatIsMounted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	mounted := func(dir string) bool {
		is, err := layers.Mounted(dir)
		require.NoError(t, err)
		return is
	}
	depot := filepath.Join(t.TempDir(), "depot")
	require.NoError(t, os.Mkdir(depot, 0o755))
	t.Cleanup(func() { require.NoError(t, layers.Unmount(depot)) })
	require.NoError(t, unmountOwn(depot), "nothing is mounted")
	require.NoError(t, layers.Private(depot))
	require.True(t, mounted(depot))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(depot, link))
	require.NoError(t, unmountOwn(link))
	require.False(t, mounted(depot))

	require.NoError(t, unix.Mount("tmpfs", depot, "tmpfs", 0, ""))
	require.NoError(t, layers.Private(depot))
	require.NoError(t, unmountOwn(depot))
	require.True(t, mounted(depot), "it is the operator's")
}
