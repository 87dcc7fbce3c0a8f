package network

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// roleEnv says what the test binary is when it runs itself.
const (
	roleEnv    = "NETWORK_TEST_ROLE"
	roleInside = "inside"
	roleNode   = "node"
	roleServer = "server"
)

// ask is one thing that a node is to do.
type ask struct {
	Op      string   `json:"op"`
	Network string   `json:"network,omitempty"`
	Address string   `json:"address,omitempty"`
	Args    []string `json:"args,omitempty"`
	Bytes   int64    `json:"bytes,omitempty"`
	Raw     []byte   `json:"raw,omitempty"`
	Link    string   `json:"link,omitempty"`
	Wait    string   `json:"wait,omitempty"`
}

// told is a node's answer.
type told struct {
	Err   string        `json:"err,omitempty"`
	Errno syscall.Errno `json:"errno,omitempty"`
	// Text is what the other side said: the address that it saw.
	Text string        `json:"text,omitempty"`
	Took time.Duration `json:"took,omitempty"`
}

// node is a process in a network namespace of its own: a container, or the world outside.
type node struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	mu  sync.Mutex
}

func startNode(tb testing.TB) *node {
	tb.Helper()
	n := &node{cmd: exec.Command(os.Args[0])}
	n.cmd.Env = append(os.Environ(), roleEnv+"="+roleNode)
	n.cmd.Stderr = os.Stderr
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var err error
	n.in, err = n.cmd.StdinPipe()
	require.NoError(tb, err)
	out, err := n.cmd.StdoutPipe()
	require.NoError(tb, err)
	n.out = bufio.NewReader(out)
	require.NoError(tb, n.cmd.Start())
	tb.Cleanup(n.kill)
	return n
}

func (n *node) pid() int { return n.cmd.Process.Pid }

func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

func (n *node) do(tb testing.TB, a ask) told {
	tb.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	raw, err := json.Marshal(a)
	require.NoError(tb, err)
	_, err = n.in.Write(append(raw, '\n'))
	require.NoError(tb, err)
	line, err := n.out.ReadBytes('\n')
	require.NoError(tb, err)
	var t told
	require.NoError(tb, json.Unmarshal(line, &t))
	return t
}

// run runs a command in the node's namespace.
func (n *node) run(tb testing.TB, args ...string) string {
	tb.Helper()
	t := n.do(tb, ask{Op: "exec", Args: args})
	require.Empty(tb, t.Err, "%v: %s", args, t.Text)
	return t.Text
}

// listen answers whoever comes with the address that it sees.
func (n *node) listen(tb testing.TB, network, address string) {
	tb.Helper()
	require.Empty(tb, n.do(tb, ask{Op: "listen", Network: network, Address: address}).Err)
}

func (n *node) dial(tb testing.TB, network, address string) told {
	tb.Helper()
	return n.do(tb, ask{Op: "dial", Network: network, Address: address})
}

// reaches dials and says what address the other side saw.
func (n *node) reaches(tb testing.TB, network, address string) string {
	tb.Helper()
	t := n.dial(tb, network, address)
	require.Empty(tb, t.Err, "%s %s", network, address)
	host, _, err := net.SplitHostPort(t.Text)
	require.NoError(tb, err)
	return host
}

// atOnce is far below the second after which a dropped SYN is sent again.
const atOnce = 500 * time.Millisecond

// refused dials, and is refused: TCP without waiting. The kernel tells of a refused UDP packet once a second at most.
func (n *node) refused(tb testing.TB, network, address string) {
	tb.Helper()
	t := n.dial(tb, network, address)
	assert.NotEmpty(tb, t.Err, "%s %s was reached", network, address)
	if strings.HasPrefix(network, "tcp") {
		assert.Less(tb, t.Took, atOnce, "%s %s: %s", network, address, t.Err)
		assert.Contains(tb, []syscall.Errno{unix.ECONNREFUSED, unix.EHOSTUNREACH}, t.Errno, "%s %s: %s", network, address, t.Err)
	}
}

func nodeMain() {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var a ask
		if err := json.Unmarshal(line, &a); err != nil {
			panic(err)
		}
		begun := time.Now()
		text, err := nodeDo(a)
		t := told{Text: text, Took: time.Since(begun)}
		if err != nil {
			t.Err = err.Error()
			_ = errors.As(err, &t.Errno)
		}
		if err := out.Encode(t); err != nil {
			return
		}
	}
}

func nodeDo(a ask) (string, error) {
	switch a.Op {
	case "exec":
		raw, err := exec.Command(a.Args[0], a.Args[1:]...).CombinedOutput()
		return string(raw), err
	case "listen":
		return "", listen(a.Network, a.Address)
	case "dial":
		return dial(a.Network, a.Address)
	case "hold":
		return hold(a.Address)
	case "transfer":
		return "", transfer(a.Args[0], a.Address, a.Bytes)
	case "ping":
		return "", ping(a.Address)
	case "packet":
		return "", packet(a.Link, a.Raw, a.Args[0])
	case "bind":
		return "", bind(a.Address)
	case "catch":
		return catch(a.Wait)
	}
	return "", fmt.Errorf("no such thing: %s", a.Op)
}

const patience = 3 * time.Second

func listen(network, address string) error {
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			return err
		}
		go func() {
			buf := make([]byte, 1500)
			for {
				_, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = c.WriteTo([]byte(from.String()), from)
			}
		}()
		return nil
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return nil
}

// serve says whom it sees, then gives or takes as many bytes as it is told, or echoes lines.
func serve(c net.Conn) {
	defer c.Close()
	fmt.Fprintln(c, c.RemoteAddr())
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		var count int64
		switch {
		case scan(line, "give %d", &count):
			_, _ = io.CopyN(c, zeros{}, count)
		case scan(line, "take %d", &count):
			_, _ = io.CopyN(io.Discard, in, count)
			fmt.Fprintln(c, "taken")
		default:
			fmt.Fprint(c, line)
		}
	}
}

func scan(line, format string, into *int64) bool {
	n, _ := fmt.Sscanf(line, format, into)
	return n == 1
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func dial(network, address string) (string, error) {
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if strings.HasPrefix(network, "udp") {
		_ = c.SetDeadline(time.Now().Add(patience / 10))
		if _, err := c.Write([]byte("?\n")); err != nil {
			return "", err
		}
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		return string(buf[:n]), err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// held is the one connection that a node keeps.
var held struct { //nolint:gochecknoglobals // of a process that does one thing after the other
	conn net.Conn
	in   *bufio.Reader
}

// hold opens a connection and keeps it; without an address it sends a line by it and waits for the echo.
func hold(address string) (string, error) {
	if address != "" {
		c, err := net.DialTimeout("tcp4", address, patience)
		if err != nil {
			return "", err
		}
		held.conn, held.in = c, bufio.NewReader(c)
		_, err = held.in.ReadString('\n')
		return "", err
	}
	_ = held.conn.SetDeadline(time.Now().Add(patience / 2))
	if _, err := fmt.Fprintln(held.conn, "still there"); err != nil {
		return "", err
	}
	return held.in.ReadString('\n')
}

// transfer gives bytes to the server at the address, or takes them from it.
func transfer(direction, address string, count int64) error {
	c, err := net.DialTimeout("tcp4", address, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * patience))
	in := bufio.NewReader(c)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	if direction == "take" {
		fmt.Fprintf(c, "give %d\n", count)
		_, err := io.CopyN(io.Discard, in, count)
		return err
	}
	fmt.Fprintf(c, "take %d\n", count)
	if _, err := io.CopyN(c, zeros{}, count); err != nil {
		return err
	}
	_, err = in.ReadString('\n')
	return err
}
