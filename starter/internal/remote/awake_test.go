package remote

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// buffered is an end of a pipe that holds what is written until the other end takes it, as a network does.
type buffered struct {
	net.Conn
	written chan []byte
	closed  chan struct{}
	once    *sync.Once
}

func newBuffered(c net.Conn) buffered {
	b := buffered{c, make(chan []byte, 1024), make(chan struct{}), &sync.Once{}}
	go func() {
		for {
			select {
			case p := <-b.written:
				_, _ = c.Write(p)
			case <-b.closed:
				return
			}
		}
	}()
	return b
}

func (b buffered) Write(p []byte) (int, error) {
	select {
	case b.written <- bytes.Clone(p):
		return len(p), nil
	case <-b.closed:
		return 0, net.ErrClosed
	}
}

func (b buffered) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Conn.Close()
}

// connected are both ends of a connection, of which the node's answers nothing.
func connected(t *testing.T) (client *ssh.Client, node ssh.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	config, hostKey := nodeConfig(t, nil)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	require.NoError(t, err)
	_, signer := newKey(t)
	served := make(chan ssh.Conn, 1)
	go func() {
		conn, _, _, err := ssh.NewServerConn(newBuffered(theirs), config)
		if err != nil {
			close(served)
			return
		}
		served <- conn
	}()
	connection := &listening{Conn: newBuffered(ours)}
	conn, channels, requests, err := ssh.NewClientConn(connection, "", &ssh.ClientConfig{
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(key),
	})
	require.NoError(t, err)
	client = ssh.NewClient(conn, channels, requests)
	go stayAwake(client, connection)
	node, ok := <-served
	require.True(t, ok)
	return client, node
}

func TestANodeThatIsGoneWithoutAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, node := connected(t)
		begun := time.Now()
		require.Error(t, client.Wait())
		require.LessOrEqual(t, time.Since(begun), (maxSilent+2)*keepAlive)
		_ = node.Close()
	})
}

// TestANodeThatIsSlow: its answer comes late, or never, as where much is under way to it. It is there all the same.
func TestANodeThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, node := connected(t)
		gone := make(chan struct{})
		go func() { _ = client.Wait(); close(gone) }()
		for range 100 {
			time.Sleep((maxSilent - 1) * keepAlive)
			_, _, err := node.SendRequest("word", false, nil)
			require.NoError(t, err)
			synctest.Wait()
			select {
			case <-gone:
				require.Fail(t, "it was left")
			default:
			}
		}
		_ = node.Close()
		<-gone
		_ = client.Close()
	})
}
