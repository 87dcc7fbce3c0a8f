package fetch_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fileServer serves one file, and misbehaves when told to.
type fileServer struct {
	*httptest.Server
	mu       sync.Mutex
	content  []byte
	etag     string
	breakAt  int  // ends the connection after so many bytes of a body; 0 for never
	noRanges bool // ignores Range
	requests []*http.Request
}

func serve(t *testing.T, content []byte) *fileServer {
	t.Helper()
	s := &fileServer{content: content, etag: `"v1"`}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *fileServer) set(change func(*fileServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *fileServer) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	content, etag, breakAt, noRanges := s.content, s.etag, s.breakAt, s.noRanges
	s.mu.Unlock()
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	if noRanges {
		r.Header.Del("Range")
	}
	if breakAt > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:breakAt])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// blob is n bytes that differ from place to place.
func blob(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}
