package network

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTheWorldIsOpenButForDeny(t *testing.T) {
	out := newOutside(t)
	n := open(t, "t1", testPool())
	c := attach(t, n, 0)
	for _, network := range []string{"tcp4", "udp4"} {
		assert.Equal(t, hostAddress, c.reaches(t, network, farAddress+":8080"), "it leaves with the host's address")
		assert.Equal(t, hostAddress, c.reaches(t, network, allowedAddress+":8080"), "allow wins over deny")
		assert.NotEmpty(t, hostReaches(t, network, deniedAddress+":8080"), "the target is there")
		c.refused(t, network, deniedAddress+":8080")
	}
	require.Empty(t, c.do(t, ask{Op: "ping", Address: farAddress + " 8 0"}).Err)
	require.NotEmpty(t, c.do(t, ask{Op: "ping", Address: deniedAddress + " 8 0"}).Err)
	_ = out
}

func TestRefusedManyTimesAtOnce(t *testing.T) {
	newOutside(t)
	n := open(t, "t1", testPool())
	c := attach(t, n, 0)
	for range 30 {
		c.refused(t, "tcp4", deniedAddress+":8080")
	}
}

func TestOtherProtocolsAreToldOnce(t *testing.T) {
	newOutside(t)
	n := open(t, "t1", testPool())
	// The kernel remembers whom it told: a container that no other test has.
	c := attach(t, n, 9000)
	got := c.dial(t, "udp4", deniedAddress+":8080")
	require.Equal(t, unix.EHOSTUNREACH, got.Errno, got.Err)
	require.Less(t, got.Took, atOnce)
}

func TestContainersAndHostAreClosed(t *testing.T) {
	out := newOutside(t)
	n := open(t, "t1", testPool())
	a, b := attach(t, n, 0), attach(t, n, 1)
	hostListens(t, "7070")

	assert.Equal(t, b.host.String(), hostReaches(t, "tcp4", b.at(port8080)), "the host reaches its containers")
	assert.NotEmpty(t, hostReaches(t, "udp4", b.at(port8080)))
	assert.Equal(t, outsideAddress, out.reaches(t, "tcp4", hostAddress+":7070"), "the host's service is there")
	assert.Equal(t, a.host.String(), hostReaches(t, "tcp4", a.host.String()+":7070"), "also by the gateway's address")

	for _, network := range []string{"tcp4", "udp4"} {
		a.refused(t, network, b.at(port8080))
		for _, host := range []string{hostAddress, a.host.String(), b.host.String()} {
			a.refused(t, network, host+":7070")
		}
		a.refused(t, network, "10.254.0.10:8080") // of no container; outside has it
	}
	for _, target := range []string{b.address().String(), hostAddress, a.host.String()} {
		require.NotEmpty(t, a.do(t, ask{Op: "ping", Address: target + " 8 0"}).Err, target)
	}
	// Neither does the outside reach containers, though it knows the way.
	for _, own := range []string{"10.254.0.2", "10.254.0.6"} {
		out.run(t, "ip", "addr", "del", own+"/32", "dev", "lo")
	}
	out.run(t, "ip", "route", "add", testPool().String(), "via", hostAddress)
	for _, network := range []string{"tcp4", "udp4"} {
		out.refused(t, network, a.at(port8080))
	}
	// What containers answer still passes.
	assert.NotEmpty(t, hostReaches(t, "tcp4", a.at(port8080)))
}

// hostMAC is the hardware address of the host's end of a container's link.
func hostMAC(t *testing.T, c *container) string { t.Helper(); return macOf(t, c.link) }

func macOf(t *testing.T, link string) string {
	t.Helper()
	fields := strings.Fields(command(t, "ip", "-o", "link", "show", link))
	for i, f := range fields {
		if f == "link/ether" {
			return fields[i+1]
		}
	}
	require.FailNow(t, "no address", link)
	return ""
}

func TestForgedPacketsGoNowhere(t *testing.T) {
	out := newOutside(t)
	n := open(t, "t1", testPool())
	a, b := attach(t, n, 0), attach(t, n, 1)
	require.NoError(t, writeSysctl("ipv4/conf/all/rp_filter", "0")) // which would stop some of them, where it is on
	far := netip.MustParseAddrPort(farAddress + ":4000")
	try := func(from netip.AddrPort) told {
		require.Empty(t, out.do(t, ask{Op: "bind", Address: far.String()}).Err)
		require.Empty(t, a.do(t, ask{Op: "packet", Link: peerName, Raw: udpPacket(from, far, "x"), Args: []string{hostMAC(t, a)}}).Err)
		return out.do(t, ask{Op: "catch", Wait: "200ms"})
	}
	assert.Empty(t, try(netip.AddrPortFrom(a.address(), 4001)).Err, "its own address passes")
	for _, from := range []string{b.address().String(), b.host.String(), a.host.String(), hostAddress, "127.0.0.1", "203.0.113.7"} {
		assert.NotEmpty(t, try(netip.MustParseAddrPort(from+":4001")).Err, "as %s", from)
	}
}

func TestLoopbackOfTheHostIsOutOfReach(t *testing.T) {
	newOutside(t)
	n := open(t, "t1", testPool())
	a := attach(t, n, 0)
	require.NoError(t, n.NetOut(t.Context(), a.network, rule4("127.0.0.0/8", all)))
	to := netip.MustParseAddrPort("127.0.0.1:4002")
	require.NoError(t, bind(to.String()))
	require.Empty(t, a.do(t, ask{Op: "packet", Link: peerName, Raw: udpPacket(netip.AddrPortFrom(a.address(), 4001), to, "x"), Args: []string{hostMAC(t, a)}}).Err)
	_, err := catch("300ms")
	require.Error(t, err)
	// The same packet arrives where it may.
	require.NoError(t, n.NetOut(t.Context(), a.network, rule4(hostAddress, all)))
	to = netip.MustParseAddrPort(hostAddress + ":4002")
	require.NoError(t, bind(to.String()))
	require.Empty(t, a.do(t, ask{Op: "packet", Link: peerName, Raw: udpPacket(netip.AddrPortFrom(a.address(), 4001), to, "x"), Args: []string{hostMAC(t, a)}}).Err)
	_, err = catch("300ms")
	require.NoError(t, err)
}

func TestARangeDoesNotOpenBroadcastAndMulticast(t *testing.T) {
	newOutside(t)
	n := open(t, "t1", testPool())
	a := attach(t, n, 0)
	// As the usual "all but private networks" ends.
	require.NoError(t, n.NetOut(t.Context(), a.network, rule4("192.169.0.0-255.255.255.255", all)))
	const group = "239.1.2.3"
	command(t, "ip", "addr", "add", group, "dev", a.link, "autojoin")
	try := func(destination string) bool {
		require.NoError(t, bind("0.0.0.0:4002"))
		raw := udpPacket(netip.AddrPortFrom(a.address(), 4001), netip.MustParseAddrPort(destination+":4002"), "x")
		require.Empty(t, a.do(t, ask{Op: "packet", Link: peerName, Raw: raw, Args: []string{hostMAC(t, a)}}).Err)
		_, err := catch("200ms")
		return err == nil
	}
	targets := []string{"255.255.255.255", group}
	for _, to := range targets {
		assert.False(t, try(to), to)
	}
	command(t, "nft", "flush", "chain", "ip", n.table(), chainEgress)
	for _, to := range targets {
		assert.True(t, try(to), "it is the chain that keeps it from %s", to)
	}
}

func TestManyNetworksToAllowAndDeny(t *testing.T) {
	newOutside(t)
	const many = 2000
	o := Options{Instance: "t1", Pool: testPool()}
	for i := range uint32(many) {
		o.Deny = append(o.Deny, netip.PrefixFrom(address(20<<24+i<<8), 24))
	}
	o.Deny = append(o.Deny, netip.PrefixFrom(netip.MustParseAddr(deniedAddress), 32))
	n, err := Open(t.Context(), o)
	require.NoError(t, err)
	defer func() { require.NoError(t, errors.Join(n.Remove(t.Context()), n.Close())) }()
	a := attach(t, n, 0)
	a.refused(t, "tcp4", deniedAddress+":8080")
	a.reaches(t, "tcp4", farAddress+":8080")
}

func TestNobodyOutsideIsAContainer(t *testing.T) {
	out := newOutside(t)
	n := open(t, "t1", testPool())
	require.NoError(t, writeSysctl("ipv4/conf/all/rp_filter", "0")) // which would do, where it is on
	to := netip.MustParseAddrPort(hostAddress + ":4002")
	mac := macOf(t, "out0")
	for from, arrives := range map[string]bool{farAddress: true, "10.254.0.2": false, "10.254.77.1": false} {
		require.NoError(t, bind(to.String()))
		raw := udpPacket(netip.MustParseAddrPort(from+":4001"), to, "x")
		require.Empty(t, out.do(t, ask{Op: "packet", Link: "eth0", Raw: raw, Args: []string{mac}}).Err)
		_, err := catch("200ms")
		assert.Equal(t, arrives, err == nil, "from %s", from)
	}
	_ = n
}

func TestNoIPv6(t *testing.T) {
	newOutside(t)
	n := open(t, "t1", testPool())
	a := attach(t, n, 0)
	command(t, "ip", "addr", "add", "fd00::1/128", "dev", "lo", "nodad")
	defer command(t, "ip", "addr", "del", "fd00::1/128", "dev", "lo")
	try := func() bool {
		var err error
		bound, err = net.ListenPacket("udp6", "[fd00::1]:4002")
		require.NoError(t, err)
		raw := udp6Packet(netip.MustParseAddrPort("[fd00::2]:4001"), netip.MustParseAddrPort("[fd00::1]:4002"), "x")
		require.Empty(t, a.do(t, ask{Op: "packet", Link: peerName, Raw: raw, Args: []string{hostMAC(t, a)}}).Err)
		_, err = catch("200ms")
		return err == nil
	}
	require.False(t, try(), "the link has none")
	require.NoError(t, writeSysctl("ipv6/conf/"+a.link+"/disable_ipv6", "0"))
	require.False(t, try(), "nor would it do if somebody switched it on")
	command(t, "nft", "flush", "table", "ip6", n.table())
	require.True(t, try(), "it is the table that stops it")
}

func TestWhatIsNotTranslatedStaysHere(t *testing.T) {
	newOutside(t) // it watches
	n := open(t, "t1", testPool())
	a := attach(t, n, 0)
	raw := udpPacket(netip.AddrPortFrom(a.address(), 4001), netip.MustParseAddrPort(farAddress+":8080"), "a TCP header's length")
	const protocol, reset = 9, 0x04
	raw[protocol] = unix.IPPROTO_TCP
	raw[10], raw[11] = 0, 0
	binary.BigEndian.PutUint16(raw[10:], sum(raw[:20]))
	tcp := raw[20:40]
	copy(tcp[4:], make([]byte, 16))
	tcp[12], tcp[13] = 5<<4, reset // of a connection that never was
	pseudo := append(append([]byte{}, raw[12:20]...), 0, unix.IPPROTO_TCP, 0, byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], sum(append(pseudo, tcp...)))
	binary.BigEndian.PutUint16(raw[2:], 40)
	binary.BigEndian.PutUint16(raw[10:], 0)
	binary.BigEndian.PutUint16(raw[10:], sum(raw[:20]))
	require.Empty(t, a.do(t, ask{Op: "packet", Link: peerName, Raw: raw[:40], Args: []string{hostMAC(t, a)}}).Err)
	a.reaches(t, "tcp4", farAddress+":8080") // which comes after it
}
