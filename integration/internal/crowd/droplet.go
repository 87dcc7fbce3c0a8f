package crowd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1" //nolint:gosec // the wire's digest of a droplet
	"encoding/hex"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// Droplet is an app that serves a file at its port, and where it is had.
type Droplet struct {
	SHA1, URI string
	fetched   atomic.Int32
}

// Fetched is how often it was asked for.
func (d *Droplet) Fetched() int { return int(d.fetched.Load()) }

// NewDroplet makes a droplet with a web server in it, and serves it until the test's end. Two have different content where
// their text is another.
func NewDroplet(t *testing.T, text string) *Droplet {
	t.Helper()
	program, err := stack.Bin("staticd")
	require.NoError(t, err)
	server, err := os.ReadFile(program)
	require.NoError(t, err)
	return serve(t, pack(t, map[string]string{
		"./app/staticd": string(server), "./app/public/index.html": text,
		"./staging_info.yml": "start_command: ./staticd -root public\n",
	}))
}

// NewBareDroplet makes a droplet without a start command.
func NewBareDroplet(t *testing.T) *Droplet {
	t.Helper()
	return serve(t, pack(t, map[string]string{"./app/index.html": "bare"}))
}

// pack is the tar.gz of a droplet with these files, in the directories that one has.
func pack(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var packed bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	require.NoError(t, err)
	archive := tar.NewWriter(compressed)
	for _, dir := range []string{"./app/", "./app/public/", "./logs/", "./tmp/"} {
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: dir, Mode: 0o755, Typeflag: tar.TypeDir}))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content := files[name]
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}))
		_, err := archive.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	require.NoError(t, compressed.Close())
	return packed.Bytes()
}

func serve(t *testing.T, packed []byte) *Droplet {
	t.Helper()
	digest := sha1.Sum(packed) //nolint:gosec // the wire's digest of a droplet
	d := &Droplet{SHA1: hex.EncodeToString(digest[:])}
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.fetched.Add(1)
		http.ServeContent(w, r, "droplet.tgz", time.Unix(1e9, 0), bytes.NewReader(packed))
	}))
	t.Cleanup(listener.Close)
	d.URI = listener.URL
	return d
}

// Message is a start message of an app that runs the droplet on a stack.
func (d *Droplet) Message(app, version, stack string) api.StartMessage {
	return api.StartMessage{
		AppID: app, Version: version, Name: app, URIs: []string{app + ".localhost"},
		SHA1: d.SHA1, ExecutableURI: d.URI, Stack: stack,
		Limits: api.Limits{MemoryMB: MemoryMB, DiskMB: DiskMB, FDs: 1024},
	}
}

// What an instance of a Droplet is booked with.
const (
	MemoryMB = 32
	DiskMB   = 64
)
