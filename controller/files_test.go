package controller

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/directory"
)

// TestFileURLsOpenANodesFiles asks a real directory server that has the installation's keys.
func TestFileURLsOpenANodesFiles(t *testing.T) {
	dir := t.TempDir()
	ring, err := codec.CreateKeyFile(filepath.Join(dir, "key"))
	require.NoError(t, err)
	root := filepath.Join(dir, "root")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "logs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, StdoutLog), []byte("hello"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(root, StagingLog), []byte("staged"), 0o600))
	at := func(context.Context, string) (directory.Place, error) { return directory.At(root), nil }
	server := httptest.NewServer(directory.New(directory.Options{
		Keys: ring.Derive(directory.KeyPurpose), Instances: at, Stagings: at, Log: hclog.NewNullLogger(),
	}))
	defer server.Close()

	c := New(nil, ring)
	require.Equal(t, "hello", read(t, c.FileURL(InstanceFiles, "i-1", server.URL, StdoutLog, false), 5))
	require.Equal(t, "staged", read(t, c.Staging("a", "t").LogURL(api.StagingStatus{FilesURL: server.URL}), 6))
	require.Empty(t, c.FileURL(InstanceFiles, "i-1", "", StdoutLog, false))
}

// read takes n bytes of what may go on for ever.
func read(t *testing.T, url string, n int) string {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	require.Equal(t, http.StatusOK, response.StatusCode)
	text := make([]byte, n)
	_, err = io.ReadFull(response.Body, text)
	require.NoError(t, err)
	return string(text)
}
