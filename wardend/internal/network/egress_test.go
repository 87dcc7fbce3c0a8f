package network

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// The protocols, short.
const (
	tcp  = wardenpb.NetOutRequest_TCP
	udp  = wardenpb.NetOutRequest_UDP
	icmp = wardenpb.NetOutRequest_ICMP
	all  = wardenpb.NetOutRequest_ALL
)

// rule4 is a rule for a network and a protocol; more is added by the functions.
func rule4(network string, protocol wardenpb.NetOutRequest_Protocol, more ...func(*wardenpb.NetOutRequest)) *wardenpb.NetOutRequest {
	r := &wardenpb.NetOutRequest{Handle: proto.String("h"), Protocol: protocol.Enum()}
	if network != "" {
		r.Network = proto.String(network)
	}
	for _, m := range more {
		m(r)
	}
	return r
}

func withPort(p uint32) func(*wardenpb.NetOutRequest) {
	return func(r *wardenpb.NetOutRequest) { r.Port = &p }
}

func withRange(text string) func(*wardenpb.NetOutRequest) {
	return func(r *wardenpb.NetOutRequest) { r.PortRange = &text }
}

func withICMP(kind, code int32) func(*wardenpb.NetOutRequest) {
	return func(r *wardenpb.NetOutRequest) { r.IcmpType, r.IcmpCode = &kind, &code }
}

func TestRulesOpenWhatTheySay(t *testing.T) {
	newOutside(t)
	n := open(t, "t1", testPool())
	hostListens(t, "8080")
	hostListens(t, "9090")
	for _, c := range []struct {
		name   string
		rule   *wardenpb.NetOutRequest
		open   []string
		closed []string
	}{
		{
			"address and port", rule4(deniedAddress, tcp, withPort(8080)),
			[]string{"tcp4 " + deniedAddress + ":8080"},
			[]string{"tcp4 " + deniedAddress + ":9090", "udp4 " + deniedAddress + ":8080", "tcp4 " + hostAddress + ":8080"},
		},
		{
			"no protocol is TCP", &wardenpb.NetOutRequest{Network: proto.String(deniedAddress)},
			[]string{"tcp4 " + deniedAddress + ":8080", "tcp4 " + deniedAddress + ":9090"},
			[]string{"udp4 " + deniedAddress + ":8080"},
		},
		{
			"network, host bits set", rule4("198.18.1.77/24", udp),
			[]string{"udp4 " + deniedAddress + ":8080"},
			[]string{"tcp4 " + deniedAddress + ":8080"},
		},
		{"another network", rule4("198.19.0.0/16", all), nil, []string{"tcp4 " + deniedAddress + ":8080"}},
		{
			"range of addresses", rule4("198.18.1.0-198.18.1.1", all),
			[]string{"tcp4 " + deniedAddress + ":8080", "udp4 " + deniedAddress + ":9090"},
			nil,
		},
		{"range of others", rule4("198.18.1.2-198.18.1.9", all), nil, []string{"tcp4 " + deniedAddress + ":8080"}},
		{
			"range of ports", rule4(deniedAddress, tcp, withRange("8079:8081")),
			[]string{"tcp4 " + deniedAddress + ":8080"},
			[]string{"tcp4 " + deniedAddress + ":9090"},
		},
		{
			"range goes before port", rule4(deniedAddress, udp, withPort(9090), withRange("8080:8081")),
			[]string{"udp4 " + deniedAddress + ":8080"},
			[]string{"udp4 " + deniedAddress + ":9090"},
		},
		{
			"port anywhere is the world's", rule4("", tcp, withPort(8080)),
			[]string{"tcp4 " + deniedAddress + ":8080"},
			[]string{"tcp4 " + deniedAddress + ":9090", "tcp4 " + hostAddress + ":8080", "tcp4 10.254.0.1:8080", "tcp4 10.254.200.2:8080"},
		},
		{
			"everything is the world's", rule4("0.0.0.0/0", all),
			[]string{"tcp4 " + deniedAddress + ":8080", "udp4 " + deniedAddress + ":9090"},
			[]string{"tcp4 " + hostAddress + ":8080", "udp4 " + hostAddress + ":8080"},
		},
		{
			"address of the host", rule4(hostAddress, tcp, withPort(8080)),
			[]string{"tcp4 " + hostAddress + ":8080"},
			[]string{"tcp4 " + hostAddress + ":9090", "udp4 " + hostAddress + ":8080", "tcp4 10.254.0.1:8080"},
		},
		{"gateway", rule4("10.254.0.1", all), []string{"tcp4 10.254.0.1:8080", "udp4 10.254.0.1:9090"}, []string{"tcp4 " + hostAddress + ":8080"}},
		{
			"another container", rule4("10.254.200.2", all, func(r *wardenpb.NetOutRequest) { r.Log = proto.Bool(true) }),
			[]string{"tcp4 10.254.200.2:8080", "udp4 10.254.200.2:8080"},
			[]string{"tcp4 " + hostAddress + ":8080"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := attach(t, n, 0), attach(t, n, 200*64)
			defer func() {
				require.NoError(t, n.Detach(t.Context(), a.network))
				require.NoError(t, n.Detach(t.Context(), b.network))
			}()
			all := append(append([]string{}, c.open...), c.closed...)
			try := func(target string) (network, address string) { return target[:4], target[5:] }
			for _, target := range all {
				network, address := try(target)
				a.refused(t, network, address)
			}
			for range 2 { // the second time it changes nothing
				require.NoError(t, n.NetOut(t.Context(), a.network, c.rule))
			}
			want := 1
			if c.rule.GetLog() {
				want = 2
			}
			listed := command(t, "nft", "list", "chain", "ip", n.table(), chainName(a.address()))
			assert.Equal(t, want, strings.Count(listed, "comment"), listed)
			if c.rule.GetLog() {
				assert.Contains(t, listed, `limit rate 10/second burst 50 packets log prefix "wardend_t1 10.254.0.2 " level info`)
			}
			for _, target := range c.open {
				network, address := try(target)
				a.reaches(t, network, address)
			}
			for _, target := range c.closed {
				network, address := try(target)
				a.refused(t, network, address)
			}
			b.refused(t, "tcp4", deniedAddress+":8080") // it is a's alone
		})
	}
}

func TestRulesOfICMP(t *testing.T) {
	newOutside(t)
	n := open(t, "t1", testPool())
	const echo, stamp = " 8 0", " 13 0"
	for name, c := range map[string]struct {
		rule   *wardenpb.NetOutRequest
		passes map[string]bool
	}{
		"any":       {rule4(deniedAddress, icmp), map[string]bool{echo: true, stamp: true}},
		"any by -1": {rule4(deniedAddress, icmp, withICMP(-1, -1)), map[string]bool{echo: true, stamp: true}},
		"type":      {rule4(deniedAddress, icmp, withICMP(8, -1)), map[string]bool{echo: true, stamp: false}},
		"code":      {rule4(deniedAddress, icmp, withICMP(13, 0)), map[string]bool{echo: false, stamp: true}},
		"no code":   {rule4(deniedAddress, icmp, withICMP(8, 3)), map[string]bool{echo: false, stamp: false}},
		"all":       {rule4(deniedAddress, all), map[string]bool{echo: true, stamp: true}},
		"tcp":       {rule4(deniedAddress, tcp), map[string]bool{echo: false, stamp: false}},
	} {
		t.Run(name, func(t *testing.T) {
			a := attach(t, n, 0)
			require.NoError(t, n.NetOut(t.Context(), a.network, c.rule))
			for kind, passes := range c.passes {
				got := a.do(t, ask{Op: "ping", Address: deniedAddress + kind})
				assert.Equal(t, passes, got.Err == "", "%s: %s", kind, got.Err)
			}
			require.NoError(t, n.Detach(t.Context(), a.network))
		})
	}
}

func TestRulesThatMeanNothing(t *testing.T) {
	n := open(t, "t1", testPool())
	a := attach(t, n, 0)
	for name, r := range map[string]*wardenpb.NetOutRequest{
		"network":                {Network: proto.String("example.com")},
		"IPv6":                   {Network: proto.String("fd00::/8")},
		"mask":                   {Network: proto.String("10.0.0.0/33")},
		"half a range":           {Network: proto.String("10.0.0.1-")},
		"range of networks":      {Network: proto.String("10.0.0.0/8-11.0.0.0/8")},
		"range upside down":      {Network: proto.String("10.0.0.2-10.0.0.1")},
		"nothing":                {},
		"only a protocol":        rule4("", icmp, withICMP(8, 0)),
		"port too high":          rule4("", tcp, withPort(65536)),
		"range of words":         rule4("", tcp, withRange("http:https")),
		"ports upside down":      rule4("", tcp, withRange("2:1")),
		"ports of ICMP":          rule4("10.0.0.1", icmp, withPort(1)),
		"ports of all":           rule4("10.0.0.1", all, withRange("1:2")),
		"ICMP type":              rule4("10.0.0.1", icmp, withICMP(256, -1)),
		"ICMP type far too low":  rule4("10.0.0.1", icmp, withICMP(-2, -1)),
		"ICMP code":              rule4("10.0.0.1", icmp, withICMP(8, 256)),
		"ICMP code far too low":  rule4("10.0.0.1", icmp, withICMP(8, -9)),
		"network with a blank":   {Network: proto.String(" 10.0.0.1")},
		"network with a zone":    {Network: proto.String("fe80::1%eth0")},
		"address in another way": {Network: proto.String("010.0.0.1")},
	} {
		err := n.NetOut(t.Context(), a.network, r)
		require.ErrorIs(t, err, ErrBadRule, name)
		var wrong *RuleError
		require.ErrorAs(t, err, &wrong, name)
		require.NotEmpty(t, wrong.Field, name)
	}
	require.NotContains(t, command(t, "nft", "list", "table", "ip", n.table()), chainName(a.address()))
	good := rule4("10.0.0.1", tcp)
	require.ErrorIs(t, n.NetOut(t.Context(), n.slotAt(5).network(), good), ErrNotAttached)
}

func FuzzRules(f *testing.F) {
	f.Add("10.0.0.1-10.0.0.9", uint32(1), "1:2", int32(0), int32(-1), int32(0))
	f.Add("10.0.0.0/8", uint32(0), "", int32(2), int32(8), int32(0))
	f.Fuzz(func(t *testing.T, network string, port uint32, ports string, protocol, kind, code int32) {
		r := rule4(network, wardenpb.NetOutRequest_Protocol(protocol), withPort(port), withRange(ports), withICMP(kind, code))
		e, err := parseRule(r)
		if err != nil {
			require.ErrorIs(t, err, ErrBadRule)
			return
		}
		require.False(t, e.high.Less(e.low))
		require.LessOrEqual(t, e.first, e.last)
		require.NotEmpty(t, e.matches(testPool()))
		require.Less(t, len(e.String()), 200, "the kernel takes 256")
	})
}
