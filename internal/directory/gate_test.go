package directory

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTailsAreBounded(t *testing.T) {
	n := newNode(t)
	n.write("log", "one\n")
	n.http.Config.Handler = New(Options{Keys: [][]byte{n.key}, MaxTails: 4, Instances: func(_ context.Context, id string) (Place, error) {
		return At(n.instance), nil
	}})
	of := func(id string) string { return SignedURL(n.http.URL, n.key, Instance, id, "log", time.Now(), true) }
	first := n.follow(of("a"))
	n.follow(of("a")).expect("one\n")
	// One instance takes no more than half of what there is, and the other has the rest.
	refused := n.get(of("a"))
	require.Equal(t, http.StatusServiceUnavailable, refused.status)
	require.Contains(t, refused.body, "as many readers of files as it can serve; try again soon")
	require.NotEmpty(t, refused.header.Get("Retry-After"))
	n.follow(of("b")).expect("one\n")
	n.follow(of("b")).expect("one\n")
	require.Equal(t, http.StatusServiceUnavailable, n.get(of("c")).status)
	// Other answers have bounds of their own, and whoever goes makes room.
	require.Equal(t, http.StatusOK, n.get(SignedURL(n.http.URL, n.key, Instance, "a", "log", time.Now(), false)).status)
	first.expect("one\n")
	first.cancel()
	<-first.ended
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, of("c"), nil)
		require.NoError(t, err)
		w, err := n.http.Client().Do(r)
		require.NoError(t, err)
		defer func() { _ = w.Body.Close() }()
		return w.StatusCode == http.StatusOK
	}, patience, 5*time.Millisecond)
}

// stalled holds an answer up in the middle until it is let go.
type stalled struct {
	http.ResponseWriter
	begun, end chan struct{}
}

func (s *stalled) Write(p []byte) (int, error) {
	s.begun <- struct{}{}
	<-s.end
	return s.ResponseWriter.Write(p)
}

func TestReadsAreBounded(t *testing.T) {
	n := newNode(t)
	n.write("file", "x")
	handler := New(Options{Keys: [][]byte{n.key}, MaxReads: 2, Instances: n.resolver(instanceID, n.instance)})
	get := func() *http.Request { return httptest.NewRequest(http.MethodGet, n.url("file", false), nil) }
	slow, done := &stalled{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}, make(chan struct{})
	go func() { defer close(done); handler.ServeHTTP(slow, get()) }()
	<-slow.begun
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, get())
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	close(slow.end)
	<-done
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, get())
	require.Equal(t, http.StatusOK, w.Code)
}

func TestTailsFitInTheOpenFiles(t *testing.T) {
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	got := tailsFor(1 << 30)
	require.LessOrEqual(t, uint64(got)*tailFiles, max(limit.Cur/2, tailFiles))
	require.Equal(t, min(got, 3), tailsFor(3))
}

// TestAReaderThatNeverReadsIsGivenUp, of a tail and of a file, and takes nobody's place for ever.
func TestAReaderThatNeverReadsIsGivenUp(t *testing.T) {
	n := newNode(t)
	n.write("log", strings.Repeat(strings.Repeat("x", 99)+"\n", 400_000))
	handler := New(Options{
		Keys: [][]byte{n.key}, Instances: n.resolver(instanceID, n.instance), Patience: 20 * time.Millisecond,
	})
	ended := make(chan struct{})
	n.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { ended <- struct{}{} }()
		handler.ServeHTTP(w, r)
	})
	for _, tail := range []bool{false, true} {
		conn, err := net.Dial("tcp", n.http.Listener.Addr().String())
		require.NoError(t, err)
		_, err = conn.Write([]byte("GET " + strings.TrimPrefix(n.url("log", tail), n.http.URL) + " HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		select {
		case <-ended:
		case <-time.After(patience):
			require.Fail(t, "the answer goes on")
		}
		require.NoError(t, conn.Close())
	}
}
