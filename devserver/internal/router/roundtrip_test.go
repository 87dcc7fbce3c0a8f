package router

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

// TestNothingSentMayBeSentAgain: the app closed a connection just as a request was about to go by it.
func TestNothingSentMayBeSentAgain(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	conn := &countingConn{Conn: ours}
	_, err := io.WriteString(conn, "an earlier request")
	require.NoError(t, err)

	post := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x"))
	one := attempt{endpoint: &endpoint{}}
	require.True(t, one.mayRetry(post, io.EOF), "there was no connection")
	one.connected(httptrace.GotConnInfo{Conn: conn})
	require.True(t, one.mayRetry(post, io.EOF))
	_, err = io.WriteString(conn, "P")
	require.NoError(t, err)
	require.False(t, one.mayRetry(post, io.EOF))
	for _, side := range []string{"remote error", "local error"} {
		require.False(t, one.mayRetry(post, &net.OpError{Op: side, Err: tls.AlertError(20)}), "it comes after what was sent")
	}
	require.True(t, one.mayRetry(httptest.NewRequest(http.MethodGet, "/", nil), io.EOF))
	require.False(t, one.mayRetry(httptest.NewRequest(http.MethodGet, "/", nil), http.ErrNotSupported), "it would fail again")
}

func TestABodyIsSentAgainWhileItIsKept(t *testing.T) {
	const text = "0123456789"
	b := &body{source: iotest.OneByteReader(strings.NewReader(text))}
	first, ok := b.again()
	require.True(t, ok)
	part := make([]byte, 4)
	_, err := io.ReadFull(first, part)
	require.NoError(t, err)
	for range 2 {
		next, ok := b.again()
		require.True(t, ok)
		got := make([]byte, 6)
		_, err = io.ReadFull(next, got)
		require.NoError(t, err)
		require.Equal(t, text[:6], string(got))
	}
	_, err = first.Read(part)
	require.ErrorIs(t, err, errOldAttempt)
	last, ok := b.again()
	require.True(t, ok)
	require.NoError(t, iotest.TestReader(last, []byte(text)))

	long := strings.Repeat("x", keptBytes+1)
	b = &body{source: strings.NewReader(long)}
	first, ok = b.again()
	require.True(t, ok)
	got, err := io.ReadAll(first)
	require.NoError(t, err)
	require.Equal(t, long, string(got))
	_, ok = b.again()
	require.False(t, ok, "too much to keep")

	b = &body{source: iotest.ErrReader(io.ErrUnexpectedEOF)}
	first, ok = b.again()
	require.True(t, ok)
	_, err = io.ReadAll(first)
	require.Error(t, err)
	require.Equal(t, io.ErrUnexpectedEOF, b.failure())
	_, ok = b.again()
	require.False(t, ok, "the client sends no more")
}

// BenchmarkRequest is what the router adds to a request, with the app's own handling and the client's in it.
func BenchmarkRequest(b *testing.B) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer app.Close()
	r := &Router{table: newTable(time.Hour, nil), log: hclog.NewNullLogger()}
	r.ctx, r.cancel = context.WithCancel(b.Context())
	defer r.cancel()
	r.proxy = r.newProxy()
	port := uint16(app.Listener.Addr().(*net.TCPAddr).Port) //nolint:gosec // a port
	r.table.register(at(port, "a", "a.example"), time.Now())
	defer r.table.close()
	b.ReportAllocs()
	for b.Loop() {
		request := httptest.NewRequest(http.MethodGet, "http://a.example/", nil)
		answer := httptest.NewRecorder()
		r.ServeHTTP(answer, request)
		if answer.Code != http.StatusOK {
			b.Fatal(answer.Body)
		}
	}
}
