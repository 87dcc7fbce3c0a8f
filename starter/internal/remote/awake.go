package remote

import (
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// keepAlive is how often a node is asked whether it is there.
	keepAlive = 15 * time.Second
	// maxSilent is how often in a row it may say nothing at all. Its answer may be late where much is under way to it.
	maxSilent = 3
)

// listening is a connection that knows whether anything has come.
type listening struct {
	net.Conn
	heard atomic.Bool
}

func (l *listening) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard.Store(true)
	}
	return n, err
}

// stayAwake ends a connection whose node is gone without a word. It returns with the connection's end. What counts is how often
// nothing was heard, not for how long: this program may have been stopped meanwhile.
func stayAwake(client *ssh.Client, connection *listening) {
	gone := make(chan struct{})
	go func() { _ = client.Wait(); close(gone) }()
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	var asking atomic.Bool
	for silent := 0; silent < maxSilent; {
		if asking.CompareAndSwap(false, true) {
			go func() {
				_, _, _ = client.SendRequest("keepalive@openssh.com", true, nil)
				asking.Store(false)
			}()
		}
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		silent++
		if connection.heard.Swap(false) {
			silent = 0
		}
	}
	_ = client.Close()
}
