package directory

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// crowd is how many tails there are at once, and crowdMB what they and their clients may take together, in MB of 2^20 bytes.
	crowd   = 200
	crowdMB = 50
)

// TestACrowdOfTailsTakesLittleMemory, while the files that they follow grow; the clients' part is counted as well.
func TestACrowdOfTailsTakesLittleMemory(t *testing.T) {
	n := newNode(t)
	const files, rounds = 10, 20
	name := func(i int) string { return fmt.Sprintf("log%d", i%files) }
	for i := range files {
		n.write(name(i), "")
	}
	before := inUse()
	readers := make([]*bufio.Reader, crowd)
	for i := range readers {
		readers[i] = n.raw(name(i))
	}
	line := strings.Repeat("x", 4<<10) + "\n"
	most := uint64(0)
	for range rounds {
		for i := range files {
			n.append(name(i), line)
		}
		var reading sync.WaitGroup
		for _, reader := range readers {
			reading.Go(func() {
				for got := 0; got < len(line); {
					// A chunk of the answer: its size in hex, and itself.
					var size int
					_, err := fmt.Fscanf(reader, "%x\r\n", &size)
					if err == nil {
						_, err = io.CopyN(io.Discard, reader, int64(size)+2)
					}
					if err != nil {
						t.Error(err)
						return
					}
					got += size
				}
			})
		}
		reading.Wait()
		most = max(most, inUse())
	}
	took := float64(most-min(before, most)) / (1 << 20)
	t.Logf("%d tails and their clients: %.1f MB, %.0f KB each", crowd, took, took*(1<<10)/crowd)
	require.Less(t, took, float64(crowdMB))
}

// raw follows a file over a connection of its own, which costs the test little, and gives the answer behind its header.
func (n *node) raw(name string) *bufio.Reader {
	n.t.Helper()
	conn, err := net.Dial("tcp", n.http.Listener.Addr().String())
	require.NoError(n.t, err)
	n.t.Cleanup(func() { _ = conn.Close() })
	target := strings.TrimPrefix(n.url(name, true), n.http.URL)
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: node\r\n\r\n", target)
	require.NoError(n.t, err)
	reader := bufio.NewReaderSize(conn, 512)
	status, err := reader.ReadString('\n')
	require.NoError(n.t, err)
	require.Contains(n.t, status, "200")
	for line := ""; line != "\r\n"; {
		line, err = reader.ReadString('\n')
		require.NoError(n.t, err)
	}
	return reader
}

// inUse is what the process's heap and stacks take.
func inUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// TestAFileThatIsSwappedForEverHoldsNoTail: an app that rotates as fast as it can keeps no tail from its end.
func TestAFileThatIsSwappedForEverHoldsNoTail(t *testing.T) {
	n := newNode(t)
	n.write("log", "")
	n.write("other", "")
	ended := make(chan struct{})
	handler := n.http.Config.Handler
	n.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		handler.ServeHTTP(w, r)
	})
	f := n.follow(n.url("log", true))
	stop := n.swap("log", "other")
	defer stop()
	f.cancel()
	select {
	case <-ended:
	case <-time.After(patience):
		require.Fail(t, "the tail goes on")
	}
}
