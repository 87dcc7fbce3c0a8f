package load

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEachKindOfFailureCounts, and what was not asked in time is late.
func TestEachKindOfFailureCounts(t *testing.T) {
	var asked, posted atomic.Int32
	var kind atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method == http.MethodPost {
			posted.Add(1)
		}
		switch kind.Load() {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			w.Header().Set("X-Cf-RouterError", "unknown_route")
			w.WriteHeader(http.StatusNotFound)
		case 3:
			panic(http.ErrAbortHandler)
		case 4:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}))
	defer server.Close()
	for want, fails := range map[int32]bool{0: false, 1: true, 2: true, 3: true, 4: false} {
		kind.Store(want)
		before := asked.Load()
		l := Start(t.Context(), Options{Host: "x.example", Addresses: []string{server.Listener.Addr().String()}, Rate: 1000})
		require.Eventually(t, func() bool { return asked.Load() > before+20 }, time.Minute, time.Millisecond)
		result := l.Stop()
		require.Equal(t, fails, result.Err() != nil, "%d: %v", want, result.Err())
		require.Equal(t, result.Sent, result.Failed+len(result.Took))
		require.Equal(t, fails, len(result.Took) == 0, want)
		require.LessOrEqual(t, result.Percentile(50), result.Percentile(99))
	}
	require.Positive(t, posted.Load())
}

func TestNobodyAnswers(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.Listener.Addr().String()
	server.Close()
	l := Start(t.Context(), Options{Host: "x.example", Addresses: []string{address}, Rate: 100})
	require.Eventually(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.result.Failed > 0 }, time.Minute, time.Millisecond)
	require.ErrorIs(t, l.Stop().Err(), errFailed)
}
