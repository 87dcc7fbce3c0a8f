package network

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/warden/wardenpb"
)

const (
	protocolAll = 0
	anyICMP     = -1
)

// egressRule is a rule of NetOut, understood.
type egressRule struct {
	// protocol is IP's number; protocolAll for all.
	protocol byte
	// low to high are the destinations, both included.
	low, high netip.Addr
	// first to last are the ports, both included, when the rule has any.
	hasPorts    bool
	first, last uint16
	// icmpType and icmpCode are anyICMP unless the rule names them.
	icmpType, icmpCode int32
	log                bool
}

// String is the same for two rules that mean the same.
func (e egressRule) String() string {
	text := fmt.Sprintf("proto %d to %s-%s", e.protocol, e.low, e.high)
	if e.hasPorts {
		text += fmt.Sprintf(" port %d-%d", e.first, e.last)
	}
	if e.icmpType != anyICMP {
		text += fmt.Sprintf(" icmp %d/%d", e.icmpType, e.icmpCode)
	}
	if e.log {
		text += " log"
	}
	return text
}

// anywhere: the rule has no network, or all addresses.
func (e egressRule) anywhere() bool { return number(e.low) == 0 && number(e.high) == math.MaxUint32 }

// CheckRule says whether a rule of NetOut can be understood. It fails with ErrBadRule; the text of the error is for the
// client.
func CheckRule(r *wardenpb.NetOutRequest) error {
	_, err := parseRule(r)
	return err
}

// parseRule understands a rule as the original server does: TCP unless it says otherwise, port_range before port, the
// code of ICMP only with a type. It fails with ErrBadRule.
func parseRule(r *wardenpb.NetOutRequest) (egressRule, error) {
	e := egressRule{icmpType: anyICMP, icmpCode: anyICMP, log: r.GetLog()}
	if r.GetNetwork() == "" && r.Port == nil && r.GetPortRange() == "" {
		return e, &RuleError{Field: "network", Reason: "may be empty with a port or port_range only"}
	}
	switch r.GetProtocol() {
	case wardenpb.NetOutRequest_UDP:
		e.protocol = unix.IPPROTO_UDP
	case wardenpb.NetOutRequest_ICMP:
		e.protocol = unix.IPPROTO_ICMP
	case wardenpb.NetOutRequest_ALL:
		e.protocol = protocolAll
	default:
		e.protocol = unix.IPPROTO_TCP
	}
	for _, parse := range []func(*wardenpb.NetOutRequest) error{e.parseNetwork, e.parsePorts, e.parseICMP} {
		if err := parse(r); err != nil {
			return egressRule{}, err
		}
	}
	return e, nil
}

// parseNetwork understands an address, a network, or a range "a-b".
func (e *egressRule) parseNetwork(r *wardenpb.NetOutRequest) error {
	text := r.GetNetwork()
	if text == "" {
		e.low, e.high = address(0), address(math.MaxUint32)
		return nil
	}
	bad := func(reason string) error { return &RuleError{Field: "network", Value: text, Reason: reason} }
	if low, high, isRange := strings.Cut(text, "-"); isRange {
		first, err1 := netip.ParseAddr(low)
		last, err2 := netip.ParseAddr(high)
		switch {
		case err1 != nil || err2 != nil || !first.Is4() || !last.Is4():
			return bad("is not a range of two IPv4 addresses")
		case last.Less(first):
			return bad("ends before it begins")
		}
		e.low, e.high = first, last
		return nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() {
		e.low, e.high = a, a
		return nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return bad("is neither an IPv4 address, nor a network, nor a range")
	}
	first := number(p.Masked().Addr())
	e.low, e.high = address(first), address(first|uint32(uint64(math.MaxUint32)>>p.Bits()))
	return nil
}

func (e *egressRule) parsePorts(r *wardenpb.NetOutRequest) error {
	text := r.GetPortRange()
	field := "port_range"
	if text == "" {
		if r.Port == nil {
			return nil
		}
		field, text = "port", strconv.FormatUint(uint64(r.GetPort()), 10)
	}
	bad := func(reason string) error { return &RuleError{Field: field, Value: text, Reason: reason} }
	if e.protocol != unix.IPPROTO_TCP && e.protocol != unix.IPPROTO_UDP {
		return bad("has a meaning for TCP and UDP only")
	}
	low, high, isRange := strings.Cut(text, ":")
	if !isRange {
		high = low
	}
	first, err1 := strconv.ParseUint(low, 10, 16)
	last, err2 := strconv.ParseUint(high, 10, 16)
	switch {
	case err1 != nil || err2 != nil:
		return bad(fmt.Sprintf("is no port up to %d and no range low:high of them", math.MaxUint16))
	case last < first:
		return bad("ends before it begins")
	}
	e.hasPorts, e.first, e.last = true, uint16(first), uint16(last)
	return nil
}

func (e *egressRule) parseICMP(r *wardenpb.NetOutRequest) error {
	if e.protocol != unix.IPPROTO_ICMP || r.IcmpType == nil || r.GetIcmpType() == anyICMP {
		return nil
	}
	check := func(field string, value int32) error {
		if value < anyICMP || value > math.MaxUint8 {
			return &RuleError{Field: field, Value: strconv.Itoa(int(value)), Reason: fmt.Sprintf("is neither -1 for any nor up to %d", math.MaxUint8)}
		}
		return nil
	}
	if err := check("icmp_type", r.GetIcmpType()); err != nil {
		return err
	}
	e.icmpType = r.GetIcmpType()
	if r.IcmpCode == nil {
		return nil
	}
	e.icmpCode = r.GetIcmpCode()
	return check("icmp_code", e.icmpCode)
}
