package network

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// sum is the checksum of IP and ICMP.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// udpPacket is a whole IPv4 packet, from and to whatever addresses.
func udpPacket(from, to netip.AddrPort, text string) []byte {
	p := make([]byte, 28, 28+len(text))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(28+len(text)))
	copy(p[12:], from.Addr().AsSlice())
	copy(p[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[10:], sum(p[:20]))
	binary.BigEndian.PutUint16(p[20:], from.Port())
	binary.BigEndian.PutUint16(p[22:], to.Port())
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(text)))
	return append(p, text...)
}

// udp6Packet is the same in IPv6, where UDP has a checksum, of a pseudo header too.
func udp6Packet(from, to netip.AddrPort, text string) []byte {
	u := make([]byte, 8, 8+len(text)+1)
	binary.BigEndian.PutUint16(u, from.Port())
	binary.BigEndian.PutUint16(u[2:], to.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(8+len(text)))
	u = append(u, text...)
	addresses := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	pseudo := append(append([]byte{}, addresses...), 0, 0, 0, byte(len(u)), 0, 0, 0, unix.IPPROTO_UDP)
	pseudo = append(append(pseudo, u...), make([]byte, len(u)%2)...)
	binary.BigEndian.PutUint16(u[6:], sum(pseudo))
	p := []byte{0x60, 0, 0, 0, 0, byte(len(u)), unix.IPPROTO_UDP, 64}
	return append(append(p, addresses...), u...)
}

// packet sends a whole packet by a link to a neighbour's hardware address, past all routes.
func packet(link string, raw []byte, neighbour string) error {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(neighbour)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: l.Index, Halen: 6}
	if raw[0]>>4 == 6 {
		to.Protocol = 0xdd86
	}
	copy(to.Addr[:], mac)
	return unix.Sendto(fd, raw, 0, to)
}

// bound is the one socket that catches packets.
var bound net.PacketConn //nolint:gochecknoglobals // of a process that does one thing after the other

// bind listens for one UDP packet.
func bind(address string) (err error) {
	bound, err = net.ListenPacket("udp4", address)
	return err
}

// catch waits for the packet; from whom it came.
func catch(wait string) (string, error) {
	defer bound.Close()
	d, err := time.ParseDuration(wait)
	if err != nil {
		return "", err
	}
	_ = bound.SetDeadline(time.Now().Add(d))
	_, from, err := bound.ReadFrom(make([]byte, 1500))
	if err != nil {
		return "", err
	}
	return from.String(), nil
}

// ping sends ICMP of the type and code in "address type code" and waits for any answer to it.
func ping(target string) error {
	var address string
	var kind, code byte
	if _, err := fmt.Sscan(target, &address, &kind, &code); err != nil {
		return err
	}
	c, err := net.Dial("ip4:icmp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	m := []byte{kind, code, 0, 0, 0x12, 0x34, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(m[2:], sum(m))
	if _, err := c.Write(m); err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(patience / 6))
	buf := make([]byte, 1500)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	const header = 20
	if answer := buf[header]; n <= header || answer != kind-8 && answer != kind+1 {
		return fmt.Errorf("not the answer, but type %d code %d", answer, buf[header+1])
	}
	return nil
}
