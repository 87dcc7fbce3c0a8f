package crowd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1" //nolint:gosec // the wire's digest of a droplet
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
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
	var packed bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	require.NoError(t, err)
	archive := tar.NewWriter(compressed)
	add := func(name string, mode int64, content []byte) {
		header := &tar.Header{Name: name, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(1e9, 0), Typeflag: tar.TypeReg}
		if content == nil {
			header.Typeflag = tar.TypeDir
		}
		require.NoError(t, archive.WriteHeader(header))
		_, err := archive.Write(content)
		require.NoError(t, err)
	}
	for _, dir := range []string{"./app/", "./app/public/", "./logs/", "./tmp/"} {
		add(dir, 0o755, nil)
	}
	add("./app/staticd", 0o755, server)
	add("./app/public/index.html", 0o644, []byte(text))
	add("./staging_info.yml", 0o644, []byte("start_command: ./staticd -root public\n"))
	require.NoError(t, archive.Close())
	require.NoError(t, compressed.Close())
	digest := sha1.Sum(packed.Bytes()) //nolint:gosec // the wire's digest of a droplet
	d := &Droplet{SHA1: hex.EncodeToString(digest[:])}
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.fetched.Add(1)
		http.ServeContent(w, r, "droplet.tgz", time.Unix(1e9, 0), bytes.NewReader(packed.Bytes()))
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
