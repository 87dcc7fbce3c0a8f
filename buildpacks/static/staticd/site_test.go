package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serve makes a site of files, some of which are no business of its visitors.
func serve(t *testing.T) (*httptest.Server, *bytes.Buffer) {
	t.Helper()
	outer := t.TempDir()
	dir := filepath.Join(outer, "public")
	for name, content := range map[string]string{
		"../secret.txt": "secret", "index.html": "<h1>home</h1>", "style.css": "body {}", "sub/index.html": "sub", "bare/file.txt": "0123456789",
		".htpasswd": "secret", ".git/config": "secret", ".well-known/x": "known", "404.html": "<h1>mine</h1>",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	require.NoError(t, os.Symlink("../secret.txt", filepath.Join(dir, "leak.txt")))
	require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "etc")))
	require.NoError(t, os.Symlink("style.css", filepath.Join(dir, "inside.css")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	var lines bytes.Buffer
	server := httptest.NewServer(logged(log.New(&lines, "", 0), &site{root: root}))
	t.Cleanup(func() {
		server.Close()
		_ = root.Close()
	})
	return server, &lines
}

type reply struct {
	status int
	header http.Header
	body   string
}

// request sends a path as it stands, without the client's cleaning.
func request(t *testing.T, server *httptest.Server, method, path string, header http.Header) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
	require.NoError(t, err)
	r.URL.Opaque = path
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := server.Client().Transport.RoundTrip(r)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return reply{status: response.StatusCode, header: response.Header, body: string(body)}
}

func TestSite(t *testing.T) {
	t.Parallel()
	server, _ := serve(t)
	const home, mine = "<h1>home</h1>", "<h1>mine</h1>"
	tests := []struct {
		path   string
		status int
		body   string
	}{
		{"/", 200, home},
		{"/index.html", 200, home},
		{"/style.css", 200, "body {}"},
		{"/inside.css", 200, "body {}"},
		{"/sub/", 200, "sub"},
		{"/sub", 301, ""},
		{"/.well-known/x", 200, "known"},
		{"/nowhere", 404, mine},
		{"/bare/", 404, mine},
		{"/style.css/", 404, mine},
		{"/.htpasswd", 404, mine},
		{"/.git/config", 404, mine},
		{"/leak.txt", 404, mine},
		{"/etc/passwd", 404, mine},
		{"/pipe", 404, mine},
		{"/../secret.txt", 404, mine},
		{"/sub/../../secret.txt", 404, mine},
		{"/%2e%2e/secret.txt", 404, mine},
		{"/..%2fsecret.txt", 404, mine},
		{"/a%00b", 404, mine},
	}
	for _, test := range tests {
		response := request(t, server, http.MethodGet, test.path, nil)
		require.Equal(t, test.status, response.status, test.path)
		require.Equal(t, test.body, response.body, test.path)
		require.Equal(t, "nosniff", response.header.Get("X-Content-Type-Options"))
	}
}

func TestSiteSpeaksHTTP(t *testing.T) {
	t.Parallel()
	server, lines := serve(t)
	response := request(t, server, http.MethodGet, "/style.css", nil)
	require.Equal(t, "text/css; charset=utf-8", response.header.Get("Content-Type"))
	response = request(t, server, http.MethodGet, "/style.css",
		http.Header{"If-Modified-Since": {response.header.Get("Last-Modified")}})
	require.Equal(t, http.StatusNotModified, response.status)
	require.Empty(t, response.body)
	response = request(t, server, http.MethodGet, "/bare/file.txt", http.Header{"Range": {"bytes=2-4"}})
	require.Equal(t, http.StatusPartialContent, response.status)
	require.Equal(t, "234", response.body)
	response = request(t, server, http.MethodHead, "/nowhere", nil)
	require.Equal(t, http.StatusNotFound, response.status)
	require.Empty(t, response.body)
	response = request(t, server, http.MethodPost, "/", nil)
	require.Equal(t, http.StatusMethodNotAllowed, response.status)
	require.Equal(t, "GET, HEAD", response.header.Get("Allow"))
	response = request(t, server, http.MethodGet, "/sub?a=b", nil)
	require.Equal(t, "./sub/?a=b", response.header.Get("Location"))
	server.Close()
	require.Contains(t, lines.String(), `GET "/bare/file.txt" 206 3 bytes`)
}

func TestRunServesUntilItIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.html"), []byte("hi"), 0o600))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, listener.Close())

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, dir, port) }()
	require.Eventually(t, func() bool {
		connection, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
		if err != nil {
			return false
		}
		return connection.Close() == nil
	}, 10*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.ErrorContains(t, run(t.Context(), dir, ""), "PORT")
	require.Error(t, run(t.Context(), filepath.Join(dir, "none"), port))
}
