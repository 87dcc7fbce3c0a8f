package real

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the wire's digest of a droplet
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/internal/fetch"
	"github.com/durable-dea/dea/internal/sandbox"
)

// TestDropletsOnAFullDisk: where there is no room for a droplet, those that nobody uses go, and the next try has it.
func TestDropletsOnAFullDisk(t *testing.T) {
	if err := sandbox.Check(); err != nil {
		t.Skip(err)
	}
	base := t.TempDir()
	require.NoError(t, unix.Mount("full", base, "tmpfs", 0, "size=8m"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(base, 0)) })
	var content []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }))
	t.Cleanup(server.Close)
	client := fetch.New(fetch.Options{})
	t.Cleanup(client.Close)
	cache := droplets.New(base)
	node := activities.NewDroplets(activities.DropletsDeps{
		Node: "n", Cache: cache, Keep: droplets.Keep{MaxBytes: 1 << 30, Unused: later}, HTTP: client, Log: hclog.NewNullLogger(),
	})
	download := func() (string, error) {
		sum := sha1.Sum(content) //nolint:gosec // as above
		name := hex.EncodeToString(sum[:])
		_, err := node.Download(t.Context(), activities.DropletParams{SHA1: name, URI: server.URL})
		return name, err
	}
	next := func() { content = make([]byte, 3<<20); _, _ = rand.Read(content) }
	next()
	used, err := download()
	require.NoError(t, err)
	require.NoError(t, cache.Claim("one", used))
	next()
	unused, err := download()
	require.NoError(t, err)
	next()
	_, err = download()
	require.ErrorIs(t, err, unix.ENOSPC)
	wanted, err := download()
	require.NoError(t, err)
	for name, want := range map[string]bool{used: true, unused: false, wanted: true} {
		_, here := cache.Has(name)
		require.Equal(t, want, here)
	}
	require.NoError(t, cache.Claim("two", wanted))
	next()
	for range 2 {
		_, err = download()
		require.Equal(t, api.ErrStager, api.Explain(err, api.ErrStager).Type, "what is in use stays")
	}
}
