package registrartest

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay passes on what a client and NATS say, and can say something itself.
type relay struct {
	t        *testing.T
	listener net.Listener
	clients  chan net.Conn
}

func startRelay(t *testing.T, b *bus) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{t: t, listener: listener, clients: make(chan net.Conn, 100)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", b.server.Addr().String())
			if err != nil {
				_ = client.Close()
				continue
			}
			r.clients <- client
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_, _ = to.Close(), from.Close()
			}
			running.Go(func() { pass(client, server) })
			running.Go(func() { pass(server, client) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); b.stop(); running.Wait() })
	return r
}

func (r *relay) port() string { return fmt.Sprint(r.listener.Addr().(*net.TCPAddr).Port) }

// refuse speaks as NATS does to the client that came last.
func (r *relay) refuse() {
	r.t.Helper()
	_, err := io.WriteString(<-r.clients, "-ERR 'Maximum Payload Violation'\r\n")
	require.NoError(r.t, err)
}
