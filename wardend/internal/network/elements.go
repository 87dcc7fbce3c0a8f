package network

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

func portKey(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }

func port(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

func addressIn(b []byte, offset int) (netip.Addr, bool) {
	if len(b) < offset+lenAddress {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(b[offset : offset+lenAddress])
}

// linkElement lets a container's address come by its link.
func linkElement(s slot) []nftables.SetElement {
	return []nftables.SetElement{{Key: append(linkKey(s.link), s.container.AsSlice()...)}}
}

// portElement gives a host port to a container's port; the value is padded as the kernel's registers are.
func portElement(host uint16, target netip.AddrPort) nftables.SetElement {
	return nftables.SetElement{
		Key: portKey(host),
		Val: append(append(target.Addr().AsSlice(), portKey(target.Port())...), 0, 0),
	}
}

// ruleElement sends what a container dials through its own chain.
func ruleElement(s slot) []nftables.SetElement {
	return []nftables.SetElement{{
		Key:         s.container.AsSlice(),
		VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: chainName(s.container)},
	}}
}

// forget adds to a batch that all of a container goes from the table. What is deleted is added first: deleting what
// is not there would fail the batch.
func (r *rulebook) forget(c *nftables.Conn, s slot) error {
	link := linkElement(s)
	if err := c.SetAddElements(r.links, link); err != nil {
		return err
	}
	if err := c.SetDeleteElements(r.links, link); err != nil {
		return err
	}
	var ports []nftables.SetElement
	for _, host := range r.have.ports.of[s.container] {
		ports = append(ports, portElement(host, r.have.ports.target[host]))
	}
	for len(ports) > 0 {
		some := ports[:min(len(ports), elementsAtOnce)]
		ports = ports[len(some):]
		if err := c.SetAddElements(r.ports, some); err != nil {
			return err
		}
		if err := c.SetDeleteElements(r.ports, some); err != nil {
			return err
		}
	}
	if !r.have.chains[s.index] {
		return nil
	}
	own := c.AddChain(&nftables.Chain{Table: r.ip, Name: chainName(s.container)})
	element := ruleElement(s)
	if err := c.SetAddElements(r.rules, element); err != nil {
		return err
	}
	if err := c.SetDeleteElements(r.rules, element); err != nil {
		return err
	}
	c.FlushChain(own)
	c.DelChain(own)
	return nil
}

// forgotten notes what forget did.
func (r *rulebook) forgotten(s slot) {
	delete(r.have.links, s.index)
	delete(r.have.chains, s.index)
	r.have.ports.forget(s.container)
}
