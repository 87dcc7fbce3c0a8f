package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// outside is another machine: a network namespace behind a link, with an echo. The tests' own namespace is the host.
type outside struct {
	// Host is the host's address on the link, Address the other machine's echo.
	Host, Address string
	pid           int
}

const outsidePort = 7777

// newOutside makes the machine of a number below 64; tests that run at once have different ones.
func (f *fixture) newOutside(number int) *outside {
	f.t.Helper()
	o := &outside{Host: fmt.Sprintf("192.0.2.%d", 4*number+1)}
	other := fmt.Sprintf("192.0.2.%d", 4*number+2)
	o.Address = net.JoinHostPort(other, strconv.Itoa(outsidePort))

	// It ends with the test's process, whatever ends that.
	cmd := exec.Command(f.tool, "echo", strconv.Itoa(outsidePort))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	require.NoError(f.t, err)
	require.NoError(f.t, cmd.Start())
	f.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	_, err = bufio.NewReader(stdout).ReadString('\n')
	require.NoError(f.t, err)
	o.pid = cmd.Process.Pid

	name := fmt.Sprintf("out%d", number)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(o.pid)}
	require.NoError(f.t, netlink.LinkAdd(veth))
	f.t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	f.address(nil, name, o.Host)

	ns, err := netns.GetFromPid(o.pid)
	require.NoError(f.t, err)
	defer func() { _ = ns.Close() }()
	inside, err := netlink.NewHandleAt(ns)
	require.NoError(f.t, err)
	defer inside.Close()
	f.address(inside, "eth0", other)
	return o
}

// address gives a link an address of a /30, on the host when no other place is named.
func (f *fixture) address(at *netlink.Handle, link, address string) {
	f.t.Helper()
	if at == nil {
		at = &netlink.Handle{}
	}
	l, err := at.LinkByName(link)
	require.NoError(f.t, err)
	addr, err := netlink.ParseAddr(address + "/30")
	require.NoError(f.t, err)
	require.NoError(f.t, at.AddrAdd(l, addr))
	require.NoError(f.t, at.LinkSetUp(l))
}

// dialFrom succeeds when the other machine reaches an address.
func (f *fixture) dialFrom(o *outside, address string) error {
	f.t.Helper()
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(o.pid), "-n", f.tool, "dial", address).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// hostEcho is a service of the host itself, on all of its addresses.
func (f *fixture) hostEcho() (port string) {
	f.t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(f.t, err)
	return port
}

func testAddresses(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	info := f.info(h)
	host, container := net.ParseIP(info.GetHostIp()).To4(), net.ParseIP(info.GetContainerIp()).To4()
	require.EqualValues(t, 1, host[3]%4)
	require.Equal(t, host[3]+1, container[3])
	require.Contains(t, f.out(h, "cat /proc/net/fib_trie"), container.String())
	require.Contains(t, f.out(h, "cat /proc/net/dev"), "eth0:")
	require.Contains(t, f.out(h, "cat /etc/hosts"), container.String())
}

// testNetwork: what can reach what.
func testNetwork(t *testing.T, s Suite) {
	f := s.fixture(t)
	o := f.newOutside(1)
	a, b := f.createWith(&wardenpb.CreateRequest{}), f.createWith(&wardenpb.CreateRequest{})
	port, err := f.c.NetIn(f.ctx, &wardenpb.NetInRequest{Handle: &b, ContainerPort: proto.Uint32(8080)})
	require.NoError(t, err)
	f.serve(b, 8080)
	f.serve(b, 8081)
	mapped := strconv.Itoa(int(port.GetHostPort()))
	toB := net.JoinHostPort(f.info(b).GetContainerIp(), "8080")
	toB2 := net.JoinHostPort(f.info(b).GetContainerIp(), "8081")

	t.Run("in", func(t *testing.T) {
		require.NoError(t, exec.Command(f.tool, "dial", "127.0.0.1:"+mapped).Run())
		require.NoError(t, exec.Command(f.tool, "dial", o.Host+":"+mapped).Run())
		require.NoError(t, f.dialFrom(o, o.Host+":"+mapped))
	})
	service := f.hostEcho()
	t.Run("out", func(t *testing.T) {
		require.True(t, f.reaches(a, o.Address), "the world outside")
		require.NoError(t, f.dialFrom(o, o.Host+":"+service), "the service answers others")
		for name, address := range map[string]string{
			"another container":        toB,
			"the host's service":       o.Host + ":" + service,
			"the host's service, near": f.info(a).GetHostIp() + ":" + service,
			"another's host address":   f.info(b).GetHostIp() + ":" + service,
			"an address of nobody":     nobody(t, f.info(b).GetContainerIp()) + ":80",
		} {
			start := time.Now()
			assert.False(t, f.reaches(a, address), name)
			assert.Less(t, time.Since(start), 2*time.Second, "%s: it is told so at once", name)
		}
		assert.True(t, f.reaches(b, "127.0.0.1:8080"), "itself")
	})
	t.Run("rules", func(t *testing.T) {
		ip, _, err := net.SplitHostPort(toB)
		require.NoError(t, err)
		_, err = f.c.NetOut(f.ctx, &wardenpb.NetOutRequest{Handle: &a, Network: &ip, Port: proto.Uint32(8080)})
		require.NoError(t, err)
		require.True(t, f.reaches(a, toB))
		require.False(t, f.reaches(a, toB2), "another port")
		other := f.createWith(&wardenpb.CreateRequest{})
		require.False(t, f.reaches(other, toB), "another container")
		_, err = f.c.NetOut(f.ctx, &wardenpb.NetOutRequest{Handle: &a, Network: proto.String(o.Host + "/32"), PortRange: proto.String("1:65535")})
		require.NoError(t, err)
		require.True(t, f.reaches(a, o.Host+":"+service), "the host, by a rule")
	})
	f.destroy(b)
	require.Error(t, f.dialFrom(o, o.Host+":"+mapped), "the port went with its container")
}

// nobody is an address of the pool that no container has.
func nobody(t testing.TB, address string) string {
	t.Helper()
	ip := net.ParseIP(address).To4()
	ip[3] += 200
	return ip.String()
}

func testNetworkRestart(t *testing.T, s Suite) {
	o := (&fixture{t: t, tool: s.Tool}).newOutside(2)
	f := s.fixture(t, "--deny-network", "192.0.2.8/30")
	h := f.createWith(&wardenpb.CreateRequest{})
	require.False(t, f.reaches(h, o.Address), "denied")
	_, err := f.c.NetOut(f.ctx, &wardenpb.NetOutRequest{Handle: &h, Network: proto.String(strings.Split(o.Address, ":")[0])})
	require.NoError(t, err)
	for range 2 {
		require.True(t, f.reaches(h, o.Address), "a rule opens it")
		f.server.End(syscall.SIGKILL)
		f.server.Start()
	}
	other := f.createWith(&wardenpb.CreateRequest{})
	require.False(t, f.reaches(other, o.Address), "for that container alone")
}

// testBandwidthEnforced: half a megabyte at 200 kB/s takes its time in both directions.
func testBandwidthEnforced(t *testing.T, s Suite) {
	f := s.fixture(t)
	o := f.newOutside(3)
	h := f.createWith(&wardenpb.CreateRequest{})
	send := func() int {
		t.Helper()
		return f.number(h, f.toolIn("send", o.Address, 600000))
	}
	require.Less(t, send(), 1000)
	limit := func(rate, burst uint64) {
		t.Helper()
		_, err := f.c.LimitBandwidth(f.ctx, &wardenpb.LimitBandwidthRequest{Handle: &h, Rate: &rate, Burst: &burst})
		require.NoError(t, err)
	}
	limit(200000, 20000)
	require.Greater(t, send(), 2000)
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.Greater(t, send(), 2000)
	limit(4294967295, 4294967295)
	require.Less(t, send(), 1000)
}

// testNetInBoth: both ports can be named, and the port of a container that is gone can be another's.
func testNetInBoth(t *testing.T, s Suite) {
	f := s.fixture(t)
	outside := freePort(t)
	for range 2 {
		h := f.createWith(&wardenpb.CreateRequest{})
		inside := freePort(t)
		f.serve(h, inside)
		for range 2 { // the same again changes nothing
			res, err := f.c.NetIn(f.ctx, &wardenpb.NetInRequest{Handle: &h, HostPort: &outside, ContainerPort: &inside})
			require.NoError(t, err)
			require.Equal(t, []uint32{outside, inside}, []uint32{res.GetHostPort(), res.GetContainerPort()})
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(outside)))
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		f.destroy(h)
		_, err = net.Dial("tcp", address)
		require.Error(t, err, "freed with the container")
	}
}

// testNetOutForms: every form of a rule is taken, and again after a restart without a complaint.
func testNetOutForms(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	tcp, udp, icmp, all := wardenpb.NetOutRequest_TCP, wardenpb.NetOutRequest_UDP, wardenpb.NetOutRequest_ICMP, wardenpb.NetOutRequest_ALL
	for _, rule := range []*wardenpb.NetOutRequest{
		{Network: proto.String("0.0.0.0/0")},
		{Network: proto.String("192.0.2.7")},
		{Network: proto.String("192.0.2.0/24"), Port: proto.Uint32(53), Protocol: &udp},
		{Network: proto.String("192.0.2.0/24"), PortRange: proto.String("8000:9000"), Protocol: &tcp},
		{Network: proto.String("192.0.2.1-192.0.2.9"), PortRange: proto.String("1:2")},
		{Network: proto.String("192.0.2.0/24"), Protocol: &all},
		{Network: proto.String("192.0.2.0/24"), Protocol: &icmp},
		{Network: proto.String("192.0.2.0/24"), Protocol: &icmp, IcmpType: proto.Int32(8)},
		{Network: proto.String("192.0.2.0/24"), Protocol: &icmp, IcmpType: proto.Int32(-1), IcmpCode: proto.Int32(-1)},
		{Port: proto.Uint32(443), Log: proto.Bool(true)},
		{PortRange: proto.String("443:8443"), Protocol: &udp, Log: proto.Bool(false)},
	} {
		rule.Handle = &h
		for range 2 { // the same again
			_, err := f.c.NetOut(f.ctx, rule)
			require.NoError(t, err, "%v", rule)
		}
	}
	for _, backwards := range []string{"9000:8000", "1:0"} {
		_, err := f.c.NetOut(f.ctx, &wardenpb.NetOutRequest{Handle: &h, PortRange: &backwards})
		refused(t, err, "Port range maximum must be greater than minimum")
	}
	_, err := f.c.NetOut(f.ctx, &wardenpb.NetOutRequest{Handle: &h, Network: proto.String(""), Protocol: &icmp, IcmpType: proto.Int32(8)})
	refused(t, err, "Please specify network, port, and/or port_range.")
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.Empty(t, f.info(h).GetEvents(), "a rule that could not be applied again would be an event")
}

// testNetworkAskedFor: the network that a request names is the container's.
func testNetworkAskedFor(t *testing.T, s Suite) {
	f := s.fixture(t)
	pool := net.ParseIP(f.info(f.create()).GetContainerIp()).To4()
	asked := fmt.Sprintf("%d.%d.%d.%d", pool[0], pool[1], pool[2]|3, 252)
	h := f.createWith(&wardenpb.CreateRequest{Network: &asked})
	for range 2 {
		info := f.info(h)
		require.Equal(t, fmt.Sprintf("%d.%d.%d.%d", pool[0], pool[1], pool[2]|3, 253), info.GetHostIp())
		require.Equal(t, fmt.Sprintf("%d.%d.%d.%d", pool[0], pool[1], pool[2]|3, 254), info.GetContainerIp())
		require.Contains(t, f.out(h, "cat /proc/net/fib_trie"), info.GetContainerIp())
		f.server.End(syscall.SIGKILL)
		f.server.Start()
	}
	_, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{Network: &asked})
	refused(t, err, "Could not acquire network: "+asked)
}
