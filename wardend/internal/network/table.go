package network

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Names in the table. A later version that needs a set or map of another type must give it another name.
const (
	setLinks = "links"
	mapPorts = "ports"
	mapRules = "rules"

	chainSource   = "source"
	chainEgress   = "egress"
	chainIngress  = "ingress"
	chainPortsIn  = "ports-in"
	chainPortsOut = "ports-out"
	chainSnat     = "snat"
	chainRefuse   = "refuse"
)

// table is what the instance has in nftables, apart from what each container has.
type table struct {
	names
	allow, deny []netip.Prefix

	ip, ip6             *nftables.Table
	links, ports, rules *nftables.Set
}

func newTable(n names, allow, deny []netip.Prefix, ipv6 bool) (*table, error) {
	linkType, err := nftables.ConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr)
	if err != nil {
		return nil, err
	}
	targetType, err := nftables.ConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	if err != nil {
		return nil, err
	}
	t := &table{names: n, allow: allow, deny: deny}
	t.ip = &nftables.Table{Name: n.table(), Family: nftables.TableFamilyIPv4}
	if ipv6 {
		t.ip6 = &nftables.Table{Name: n.table(), Family: nftables.TableFamilyIPv6}
	}
	t.links = &nftables.Set{Table: t.ip, Name: setLinks, KeyType: linkType}
	t.ports = &nftables.Set{Table: t.ip, Name: mapPorts, IsMap: true, KeyType: nftables.TypeInetService, DataType: targetType}
	t.rules = &nftables.Set{Table: t.ip, Name: mapRules, IsMap: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeVerdict}
	return t, nil
}

// chain is a chain of the table with all its rules.
type chain struct {
	*nftables.Chain
	rules []exprs
}

func (t *table) base(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority int32, rules ...exprs) chain {
	return chain{
		Chain: &nftables.Chain{
			Table: t.ip, Name: name, Type: kind, Hooknum: hook,
			Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority)),
		},
		rules: rules,
	}
}

// Priorities: the source is looked at before conntrack (-200) knows of the packet, so that nothing is remembered of a
// forged one; what a container dials is judged after it and before destinations are translated (-100).
const (
	prioritySource = -300
	priorityEgress = -150
	priorityDnat   = -100
	priorityFilter = 0
	prioritySnat   = 100
)

// chains are all chains but the containers' own, those that others go to first.
func (t *table) chains() []chain {
	return []chain{
		t.refuse(),
		t.source(),
		t.egress(),
		t.ingress(),
		t.base(chainPortsIn, nftables.ChainTypeNAT, nftables.ChainHookPrerouting, priorityDnat, t.toContainer()),
		t.base(chainPortsOut, nftables.ChainTypeNAT, nftables.ChainHookOutput, priorityDnat, t.toContainer()),
		t.snat(),
		// It has no rules, and tells a later server what the pool was.
		{Chain: &nftables.Chain{Table: t.ip, Name: poolChain(t.pool)}},
	}
}

// fromContainer and others tell by which link a packet came; toOwn by which it leaves.
func (t *table) fromContainer() exprs {
	return linkStarts(expr.MetaKeyIIFNAME, expr.CmpOpEq, t.linkPrefix())
}

func (t *table) fromOther() exprs {
	return linkStarts(expr.MetaKeyIIFNAME, expr.CmpOpNeq, t.linkPrefix())
}

func (t *table) toOwn() exprs { return linkStarts(expr.MetaKeyOIFNAME, expr.CmpOpEq, t.linkPrefix()) }

func (t *table) toOther() exprs {
	return linkStarts(expr.MetaKeyOIFNAME, expr.CmpOpNeq, t.linkPrefix())
}

// refuse ends a connection so that the program notices at once.
func (t *table) refuse() chain {
	return chain{
		Chain: &nftables.Chain{Table: t.ip, Name: chainRefuse},
		rules: []exprs{
			rule(protocol(unix.IPPROTO_TCP), exprs{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}),
			prohibited(),
		},
	}
}

// source drops what does not come from where it says.
func (t *table) source() chain {
	ownAddress := rule(
		exprs{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}},
		loadAddress(offsetSource, regAfterName),
		exprs{&expr.Lookup{SourceRegister: reg, SetName: setLinks}},
	)
	return t.base(chainSource, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, prioritySource,
		rule(ownAddress, accept()),
		rule(t.fromContainer(), drop()),
		// The host talks to itself with its ends' addresses; nobody else has an address of the pool.
		rule(linkIs(expr.MetaKeyIIFNAME, "lo"), accept()),
		rule(within(offsetSource, expr.CmpOpEq, t.pool), drop()),
	)
}

// egress judges what a container dials.
func (t *table) egress() chain {
	loopback := netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8) //nolint:mnd // 127.0.0.0/8
	rules := []exprs{
		rule(t.fromOther(), accept()),
		rule(answers(), accept()),
		// What conntrack cannot place is not translated either and would leave with the container's address.
		rule(invalid(), drop()),
		rule(within(offsetDestination, expr.CmpOpEq, loopback), refused()),
		// No router would pass these on: they can only mean programs of the host. A wide range names them unmeant.
		rule(destinationType(expr.CmpOpEq, unix.RTN_BROADCAST), refused()),
		rule(destinationType(expr.CmpOpEq, unix.RTN_MULTICAST), refused()),
		rule(loadAddress(offsetSource, reg), exprs{&expr.Lookup{SourceRegister: reg, DestRegister: 0, IsDestRegSet: true, SetName: mapRules}}),
		rule(destinationType(expr.CmpOpNeq, unix.RTN_UNICAST), refused()),
		rule(within(offsetDestination, expr.CmpOpEq, t.pool), refused()),
	}
	for _, network := range t.allow {
		rules = append(rules, rule(within(offsetDestination, expr.CmpOpEq, network), accept()))
	}
	for _, network := range t.deny {
		rules = append(rules, rule(within(offsetDestination, expr.CmpOpEq, network), refused()))
	}
	return t.base(chainEgress, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, priorityEgress, rules...)
}

// ingress keeps the outside from containers' addresses; what comes from an own container was judged by egress.
func (t *table) ingress() chain {
	return t.base(chainIngress, nftables.ChainTypeFilter, nftables.ChainHookForward, priorityFilter,
		rule(t.toOther(), accept()),
		rule(t.fromContainer(), accept()),
		rule(answers(), accept()),
		rule(translated(), accept()),
		// In the host's name: no packet leaves with a container's address, not even a reset.
		prohibited(),
	)
}

// toContainer is the rule that gives a host port's connection to its container.
func (t *table) toContainer() exprs {
	return rule(
		destinationType(expr.CmpOpEq, unix.RTN_LOCAL),
		protocol(unix.IPPROTO_TCP),
		loadTransport(offsetDestPort, lenPort),
		exprs{
			&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: mapPorts},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegProtoMin: regSecond},
		},
	)
}

// snat gives what leaves the host's address, and a container the gateway's for clients whose own it could not answer.
func (t *table) snat() chain {
	loopback := netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8) //nolint:mnd // 127.0.0.0/8
	masquerade := exprs{&expr.Masq{}}
	return t.base(chainSnat, nftables.ChainTypeNAT, nftables.ChainHookPostrouting, prioritySnat,
		rule(linkIs(expr.MetaKeyOIFNAME, "lo"), accept()),
		rule(within(offsetSource, expr.CmpOpEq, t.pool), t.toOther(), masquerade),
		// A container that dials its own host port would be sent its own packet.
		rule(within(offsetSource, expr.CmpOpEq, t.pool), t.toOwn(), translated(), masquerade),
		rule(within(offsetSource, expr.CmpOpEq, loopback), t.toOwn(), masquerade),
	)
}

// build adds the table to a batch: what is missing is made, all rules but the containers' are made anew, and what the
// containers have stays. Stale are chains of an earlier version.
func (t *table) build(c *nftables.Conn, stale []string) error {
	c.AddTable(t.ip)
	for _, set := range []*nftables.Set{t.links, t.ports, t.rules} {
		if err := c.AddSet(set, nil); err != nil {
			return err
		}
	}
	t.fill(c, t.chains())
	for _, name := range stale {
		c.FlushChain(&nftables.Chain{Table: t.ip, Name: name})
	}
	for _, name := range stale {
		c.DelChain(&nftables.Chain{Table: t.ip, Name: name})
	}
	if t.ip6 != nil {
		c.AddTable(t.ip6)
		source := t.base(chainSource, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, prioritySource, rule(t.fromContainer(), drop()))
		source.Table = t.ip6
		t.fill(c, []chain{source})
	}
	return nil
}

func (t *table) fill(c *nftables.Conn, chains []chain) {
	for _, ch := range chains {
		c.AddChain(ch.Chain)
		c.FlushChain(ch.Chain)
	}
	for _, ch := range chains {
		for _, r := range ch.rules {
			c.AddRule(&nftables.Rule{Table: ch.Table, Chain: ch.Chain, Exprs: r})
		}
	}
}
