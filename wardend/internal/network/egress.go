package network

import (
	"context"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// Of what a rule lets through, so many connections a second are logged at most, and so many at once.
const (
	logsASecond = 10
	logsAtOnce  = 50
)

// NetOut lets a container reach what the rule says, whatever else is refused (see the package's comment). The same
// rule again changes nothing. It fails with ErrBadRule for a rule that means nothing, and with ErrNotAttached before
// Attach. What a rule with log lets through is in the kernel's log with the instance's name and the container's address.
func (n *Network) NetOut(ctx context.Context, network netip.Prefix, rule *wardenpb.NetOutRequest) error {
	s, err := n.slot(network)
	if err != nil {
		return err
	}
	e, err := parseRule(rule)
	if err != nil {
		return err
	}
	defer n.lock(s)()
	b := n.book
	b.mu.Lock()
	defer b.mu.Unlock()
	err = b.commitLocked(ctx, func(c *nftables.Conn) error {
		if !b.have.links[s.index] {
			return ErrNotAttached
		}
		return b.addRule(c, s, e)
	})
	if err == nil {
		b.have.chains[s.index] = true
	}
	return failed(err, "egress rule cannot be applied to network %s", network)
}

// addRule adds a rule to the container's chain, and the chain, unless it is there.
func (b *rulebook) addRule(c *nftables.Conn, s slot, e egressRule) error {
	own := &nftables.Chain{Table: b.ip, Name: chainName(s.container)}
	if b.have.chains[s.index] {
		there, err := c.GetRules(b.ip, own)
		if err != nil {
			return err
		}
		for _, r := range there {
			if text, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok && text == e.String() {
				return nil
			}
		}
	}
	c.AddChain(own)
	if err := c.SetAddElements(b.rules, ruleElement(s)); err != nil {
		return err
	}
	add := func(parts ...exprs) {
		c.AddRule(&nftables.Rule{
			Table: b.ip, Chain: own, Exprs: rule(parts...),
			UserData: userdata.AppendString(nil, userdata.TypeComment, e.String()),
		})
	}
	matches := e.matches(b.pool)
	if e.log {
		add(matches, logs(b.table.table()+" "+s.container.String()+" "))
	}
	add(matches, accept())
	return nil
}

// matches are true for what the rule lets through. Without a network that is neither the host's nor the pool's.
func (e egressRule) matches(pool netip.Prefix) exprs {
	var m exprs
	if e.protocol != protocolAll {
		m = append(m, protocol(e.protocol)...)
	}
	if e.anywhere() {
		m = rule(m, destinationType(expr.CmpOpEq, unix.RTN_UNICAST), within(offsetDestination, expr.CmpOpNeq, pool))
	} else {
		m = rule(m, loadAddress(offsetDestination, reg), between(e.low.AsSlice(), e.high.AsSlice()))
	}
	if e.hasPorts {
		m = rule(m, loadTransport(offsetDestPort, lenPort), between(portKey(e.first), portKey(e.last)))
	}
	if e.icmpType != anyICMP {
		m = rule(m, loadTransport(offsetICMPType, 1), between([]byte{byte(e.icmpType)}, []byte{byte(e.icmpType)}))
		if e.icmpCode != anyICMP {
			m = rule(m, loadTransport(offsetICMPCode, 1), between([]byte{byte(e.icmpCode)}, []byte{byte(e.icmpCode)}))
		}
	}
	return m
}

func logs(prefix string) exprs {
	return exprs{
		&expr.Limit{Type: expr.LimitTypePkts, Rate: logsASecond, Unit: expr.LimitTimeSecond, Burst: logsAtOnce},
		&expr.Log{Key: 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_LEVEL, Level: expr.LogLevelInfo, Data: []byte(prefix)},
	}
}
