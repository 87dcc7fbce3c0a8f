package network

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Where things stand in the packets of IPv4, TCP, UDP and ICMP.
const (
	offsetSource      = 12
	offsetDestination = 16
	lenAddress        = 4
	offsetDestPort    = 2
	lenPort           = 2
	offsetICMPType    = 0
	offsetICMPCode    = 1
)

const (
	// registers of 16 bytes from 1 and of 4 bytes from 8, which share the memory: 9 are the second 4 bytes of 1.
	reg       = 1
	regSecond = 9
	// regAfterName follows the 16 bytes of a link's name in register 1.
	regAfterName = 2
	// statusDNAT is conntrack's bit for a translated destination.
	statusDNAT = 1 << 5
	// codeProhibited is ICMP's "communication administratively prohibited by filtering".
	codeProhibited = 13
)

// exprs is a part of a rule.
type exprs = []expr.Any

// rule puts the parts together.
func rule(parts ...exprs) exprs {
	var all exprs
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func verdict(kind expr.VerdictKind) exprs { return exprs{&expr.Verdict{Kind: kind}} }
func accept() exprs                       { return verdict(expr.VerdictAccept) }
func drop() exprs                         { return verdict(expr.VerdictDrop) }
func refused() exprs {
	return exprs{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chainRefuse}}
}

// prohibited ends a connection with ICMP's message.
func prohibited() exprs {
	return exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: codeProhibited}}
}

// linkStarts compares the beginning of a link's name.
func linkStarts(key expr.MetaKey, op expr.CmpOp, prefix string) exprs {
	return exprs{&expr.Meta{Key: key, Register: reg}, &expr.Cmp{Op: op, Register: reg, Data: []byte(prefix)}}
}

// linkIs compares a link's whole name.
func linkIs(key expr.MetaKey, name string) exprs {
	return exprs{&expr.Meta{Key: key, Register: reg}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: linkKey(name)}}
}

// linkKey is a link's name as the kernel compares it.
func linkKey(name string) []byte {
	key := make([]byte, unix.IFNAMSIZ)
	copy(key, name)
	return key
}

func loadAddress(offset, register uint32) exprs {
	return exprs{&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: lenAddress}}
}

func loadTransport(offset, length uint32) exprs {
	return exprs{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}}
}

// within compares the address at the offset with a network.
func within(offset uint32, op expr.CmpOp, network netip.Prefix) exprs {
	base := network.Masked().Addr().As4()
	loaded := loadAddress(offset, reg)
	if network.Bits() < lenAddress*8 {
		mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(lenAddress*8-network.Bits()))
		loaded = append(loaded, &expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: lenAddress, Mask: mask, Xor: make([]byte, lenAddress)})
	}
	return append(loaded, &expr.Cmp{Op: op, Register: reg, Data: base[:]})
}

// between compares what is in the register with low and high, both included, of the same length.
func between(low, high []byte) exprs {
	if string(low) == string(high) {
		return exprs{&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: low}}
	}
	return exprs{&expr.Range{Op: expr.CmpOpEq, Register: reg, FromData: low, ToData: high}}
}

func protocol(number byte) exprs {
	return exprs{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{number}}}
}

// destinationType compares what the destination is to the host: unix.RTN_LOCAL, unix.RTN_UNICAST, …
func destinationType(op expr.CmpOp, kind uint32) exprs {
	return exprs{
		&expr.Fib{Register: reg, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: op, Register: reg, Data: binaryutil.NativeEndian.PutUint32(kind)},
	}
}

// tracked is true when any of the bits is set in what conntrack knows.
func tracked(key expr.CtKey, bits uint32) exprs {
	return exprs{
		&expr.Ct{Key: key, Register: reg},
		&expr.Bitwise{
			SourceRegister: reg, DestRegister: reg, Len: lenAddress,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, lenAddress),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, lenAddress)},
	}
}

func answers() exprs {
	return tracked(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

func invalid() exprs    { return tracked(expr.CtKeySTATE, expr.CtStateBitINVALID) }
func translated() exprs { return tracked(expr.CtKeySTATUS, statusDNAT) }
