package drain

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/supervisor"
)

func TestDeniedNetworks(t *testing.T) {
	s := newSink(t, nil)
	m, log := manage(t, func(o *Options) { o.Networks = Networks{} })
	a := newApp(t)
	a.count(0, 10)
	_, port, err := net.SplitHostPort(s.address())
	require.NoError(t, err)
	m.Begin(a.instance(s.url(), "syslog://localhost:"+port, "syslog://[::ffff:127.0.0.1]:"+port, "syslog-udp://127.0.0.1:"+port))
	require.Eventually(t, func() bool { return strings.Count(log.String(), "drains may not lead there") == 4 },
		soon, 10*time.Millisecond)
	m.Close()
	require.Zero(t, s.accepted)
}

func TestEgress(t *testing.T) {
	machine := func(addresses ...string) func() ([]net.Addr, error) {
		return func() (all []net.Addr, err error) {
			for _, text := range addresses {
				ip, network, err := net.ParseCIDR(text)
				require.NoError(t, err)
				all = append(all, &net.IPNet{IP: ip, Mask: network.Mask})
			}
			return all, nil
		}
	}
	own := machine("127.0.0.1/8", "10.0.0.5/24", "2001:db8::5/64", "10.254.0.1/30", "10.254.0.5/30", "192.0.2.2/30")
	for name, c := range map[string]struct {
		Networks
		allowed, denied string
	}{
		"by itself": {
			allowed: "10.0.0.6 2001:db8::1 192.0.2.1 10.254.0.3 64:ff9b::808:808",
			denied: "10.0.0.5 ::ffff:10.0.0.5 2001:db8::5 127.0.0.1 127.1.2.3 0.0.0.0 :: ::1 169.254.169.254 fe80::1%eth0 224.0.0.1 ff02::1 " +
				"255.255.255.255 10.254.0.1 10.254.0.2 10.254.0.5 10.254.0.6 64:ff9b::a9fe:a9fe 64:ff9b::afe:2 fd00:ec2::254",
		},
		"further ones": {
			Networks: Networks{Denied: prefixes("10.0.0.0/8")},
			allowed:  "192.0.2.1", denied: "10.0.0.6 127.0.0.1 ::1 169.254.169.254",
		},
		"but for some": {
			Networks: Networks{Denied: prefixes("10.0.0.0/8"), Allowed: prefixes("10.0.3.17/32", "10.254.0.2/32")},
			allowed:  "10.0.3.17 10.254.0.2", denied: "10.0.3.18 10.0.0.5 127.0.0.1 10.254.0.6",
		},
		"who lets the loopback lets the machine": {
			Networks: Networks{Allowed: prefixes("127.0.0.0/8")},
			allowed:  "127.0.0.1 10.0.0.5 10.254.0.1", denied: "169.254.169.254 10.254.0.2 0.0.0.0",
		},
		"its IPv6 as well": {Networks: Networks{Allowed: prefixes("::1/128")}, allowed: "::1 10.0.0.5", denied: "10.254.0.2"},
	} {
		e := egress{c.Networks, own}
		for _, ip := range strings.Fields(c.allowed) {
			require.NoError(t, e.check(net.JoinHostPort(ip, "514")), "%s: %s", name, ip)
		}
		for _, ip := range strings.Fields(c.denied) {
			require.ErrorIs(t, e.check(net.JoinHostPort(ip, "514")), ErrDenied, "%s: %s", name, ip)
		}
	}
	require.ErrorIs(t, egress{own: own}.check("nonsense"), ErrDenied)
	unknown := egress{own: func() ([]net.Addr, error) { return nil, os.ErrPermission }}
	require.ErrorIs(t, unknown.check("10.0.0.6:514"), ErrDenied)
}

// TestDrainsBeyondTheMostWait until another ends, and get all that their logs have kept.
func TestDrainsBeyondTheMostWait(t *testing.T) {
	s := newSink(t, nil)
	m, log := manage(t, func(o *Options) { o.Max = 1 })
	first, second, third := newApp(t), newApp(t), newApp(t)
	named := func(a *app, id string) supervisor.Instance {
		i := a.instance(s.url())
		i.ID = id
		return i
	}
	first.write("stdout", "of the first\n")
	m.Begin(named(first, "i-1"))
	s.awaits("of the first")
	second.write("stdout", "of the second\n")
	m.Begin(named(second, "i-2"))
	require.Eventually(t, func() bool { return m.Totals().Waiting == 1 }, soon, 10*time.Millisecond)
	require.Contains(t, log.String(), "a syslog drain waits for another one to end")

	third.write("stdout", "of the third\n")
	m.Finish(t.Context(), named(third, "i-3")) // ends before there is room
	require.EqualValues(t, len("of the third\n"), m.Totals().LostBytes)
	require.Contains(t, log.String(), "before its syslog drain took all its lines")

	m.Finish(t.Context(), named(first, "i-1"))
	s.awaits("of the second")
	require.Equal(t, []string{"of the first", "of the second"}, s.texts())
	require.Zero(t, m.Totals().Waiting)
}

// TestOneAppHasAQuarter: the drains of another need not wait until it is over.
func TestOneAppHasAQuarter(t *testing.T) {
	s := newSink(t, nil)
	m, log := manage(t, func(o *Options) { o.Max = 4 })
	begin := func(id, of, line string) *app {
		a := newApp(t)
		a.write("stdout", line+"\n")
		i := a.instance(s.url())
		i.ID, i.AppID = id, of
		m.Begin(i)
		return a
	}
	begin("i-1", "greedy", "its first")
	s.awaits("its first")
	waits := begin("i-2", "greedy", "its second")
	require.Eventually(t, func() bool { return m.Totals().Waiting == 1 }, soon, 10*time.Millisecond)
	begin("i-3", "another", "of another")
	s.awaits("of another")
	require.Equal(t, []string{"its first", "of another"}, s.texts())

	require.NoError(t, os.RemoveAll(waits.container))
	require.Eventually(t, func() bool { return m.Totals().Waiting == 0 }, soon, 10*time.Millisecond, "its container is gone")
	require.Contains(t, log.String(), "waits for another one to end")
}

func TestUselessDrainsAreLeftOut(t *testing.T) {
	s := newSink(t, nil)
	m, log := manage(t)
	a := newApp(t)
	urls := []string{"https://u:hunter2@logs", "hunter2", s.url(), s.url() + "/hunter2?disable-metadata=true"}
	for n := range MaxDrains {
		urls = append(urls, fmt.Sprintf("syslog://127.0.0.%d:1", 100+n))
	}
	instance := a.instance(urls...)
	refused := Refused(instance.LogDrains)
	require.Equal(t, []string{
		`the syslog drain of service "s-0" is left out: drains over HTTPS are not supported: use syslog://, syslog-tls:// or syslog-udp://`,
		`the syslog drain of service "s-1" is left out: its URL is not of the form syslog-tls://host:port`,
		fmt.Sprintf(`the syslog drain of service "s-%d" is left out: 16 is the most that an app has`, 3+MaxDrains),
	}, refused)
	a.count(0, 1)
	m.Begin(instance)
	require.Equal(t, []string{"line 0"}, s.awaits("line 0"))
	require.Contains(t, log.String(), "left out")
	require.Eventually(t, func() bool { return m.Totals().Drains == MaxDrains }, soon, 10*time.Millisecond)
	m.Begin(a.instance())
	m.Finish(t.Context(), a.instance())
}
