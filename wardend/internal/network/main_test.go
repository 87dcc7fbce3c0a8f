package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

// TestMain runs the tests in a network namespace of their own.
func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case roleNode:
		nodeMain()
		return
	case roleServer:
		serverMain()
		return
	case roleInside:
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), roleEnv+"="+roleInside)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The world of the tests: the host has hostAddress, and its default route leads to outside, which has the addresses
// of a whole internet, and of the pool too: what should never leave would be answered.
const (
	hostAddress    = "192.0.2.1"
	outsideAddress = "192.0.2.2"
	farAddress     = "198.51.100.1"
	farOther       = "198.51.100.9"
	allowedAddress = "198.18.5.5"
	deniedAddress  = "198.18.1.1"
	port8080       = "8080"
	outsideMTU     = 1400
)

func testPool() netip.Prefix { return netip.MustParsePrefix("10.254.0.0/16") }

func needRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("network namespaces need root")
	}
}

func command(tb testing.TB, args ...string) string {
	tb.Helper()
	raw, err := exec.CommandContext(context.Background(), args[0], args[1:]...).CombinedOutput()
	require.NoError(tb, err, "%v: %s", args, raw)
	return string(raw)
}

// newOutside makes the world; it serves TCP and UDP on port 8080 and 9090 of all its addresses.
func newOutside(tb testing.TB) *node {
	tb.Helper()
	needRoot(tb)
	out := startNode(tb)
	command(tb, "ip", "link", "set", "lo", "up")
	require.NoError(tb, writeSysctl("ipv4/conf/all/rp_filter", "1"))
	command(tb, "ip", "link", "add", "out0", "mtu", fmt.Sprint(outsideMTU), "type", "veth",
		"peer", "name", "eth0", "mtu", fmt.Sprint(outsideMTU), "netns", fmt.Sprint(out.pid()))
	tb.Cleanup(func() { command(tb, "ip", "link", "del", "out0") })
	command(tb, "ip", "addr", "add", hostAddress+"/24", "dev", "out0")
	command(tb, "ip", "link", "set", "out0", "up")
	out.run(tb, "ip", "link", "set", "lo", "up")
	out.run(tb, "ip", "addr", "add", outsideAddress+"/24", "dev", "eth0")
	everywhere := []string{farAddress, farOther, allowedAddress, deniedAddress, "10.254.0.2", "10.254.0.6", "10.254.0.10"}
	for _, a := range everywhere {
		out.run(tb, "ip", "addr", "add", a+"/32", "dev", "lo")
	}
	out.run(tb, "ip", "link", "set", "eth0", "up")
	command(tb, "ip", "route", "add", "default", "via", outsideAddress)
	// Whatever a test does: no packet ever leaves with an address of the pools.
	out.run(tb, "nft", "add", "table", "ip", "watch")
	out.run(tb, "nft", "add", "chain", "ip", "watch", "in", "{ type filter hook prerouting priority -400; }")
	out.run(tb, "nft", "add", "rule", "ip", "watch", "in", "iifname", peerName, "ip", "saddr", "10.252.0.0/14", "counter")
	tb.Cleanup(func() { require.Contains(tb, out.run(tb, "nft", "list", "table", "ip", "watch"), "counter packets 0 ") })
	for _, p := range []string{port8080, "9090"} {
		out.listen(tb, "tcp4", ":"+p)
		for _, a := range everywhere { // UDP answers with the address that it is bound to
			out.listen(tb, "udp4", a+":"+p)
		}
	}
	return out
}

// open opens a Network that is removed at the end.
func open(tb testing.TB, instance string, pool netip.Prefix) *Network {
	tb.Helper()
	needRoot(tb)
	n, err := Open(context.Background(), testOptions(instance, pool))
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, n.Remove(context.Background()))
		require.NoError(tb, n.Close())
		requireNothing(tb, instance)
	})
	return n
}

func testOptions(instance string, pool netip.Prefix) Options {
	return Options{
		Instance: instance, Pool: pool, Log: hclog.NewNullLogger(),
		Deny:  []netip.Prefix{netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("fd00::/8")},
		Allow: []netip.Prefix{netip.MustParsePrefix("198.18.5.0/24")},
	}
}

// requireNothing looks with other eyes that nothing of an instance is left.
func requireNothing(tb testing.TB, instance string) {
	tb.Helper()
	require.NotContains(tb, command(tb, "nft", "list", "tables"), "wardend_"+instance)
	links := command(tb, "ip", "-o", "link")
	require.NotContains(tb, links, " w"+instance+"-")
	require.NotContains(tb, links, " i"+instance+"-")
}

// container is a node with a network.
type container struct {
	*node
	network netip.Prefix
	slot
}

// attach makes a container that serves TCP and UDP on port 8080.
func attach(tb testing.TB, n *Network, index uint32) *container {
	tb.Helper()
	c := &container{node: startNode(tb), slot: n.slotAt(index)}
	c.network = c.slot.network()
	require.NoError(tb, n.Attach(context.Background(), c.network, c.pid()))
	c.listen(tb, "tcp4", ":"+port8080)
	c.listen(tb, "udp4", ":"+port8080)
	return c
}

func (c *container) address() netip.Addr { return c.container }

func (c *container) at(port string) string {
	return net.JoinHostPort(c.address().String(), port)
}

// hostListens serves on all addresses of the host.
func hostListens(tb testing.TB, port string) {
	tb.Helper()
	for _, network := range []string{"tcp4", "udp4"} {
		if strings.HasPrefix(network, "udp") {
			c, err := net.ListenPacket(network, ":"+port)
			require.NoError(tb, err)
			tb.Cleanup(func() { c.Close() })
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
			continue
		}
		l, err := net.Listen(network, ":"+port)
		require.NoError(tb, err)
		tb.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go serve(c)
			}
		}()
	}
}

// hostReaches dials from the host and says what address the other side saw.
func hostReaches(tb testing.TB, network, address string) string {
	tb.Helper()
	text, err := dial(network, address)
	require.NoError(tb, err)
	host, _, err := net.SplitHostPort(text)
	require.NoError(tb, err)
	return host
}
