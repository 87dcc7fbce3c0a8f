package network

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// What the netlink module does not name: linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaTupleIP    = 1
	ctaIPv4Source = 1
	ctaFilter     = 25
	// Which parts of a tuple count, by direction: the bit of the source address.
	ctaFilterOrig   = 1
	ctaFilterReply  = 2
	ctaFilterSource = 1 << 0
	// version 1 of a request is about one family only.
	version = 1
)

// tracker makes the kernel forget connections.
type tracker struct {
	handle  *netlink.Handle
	sockets map[int]*nl.SocketHandle
}

func newTracker() (*tracker, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		handle.Close()
		return nil, err
	}
	return &tracker{handle: handle, sockets: map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: socket}}}, nil
}

func (t *tracker) close() {
	t.handle.Close()
	for _, s := range t.sockets {
		s.Close()
	}
}

// forget removes the connections that a container made and those that were made to it. The kernel finds them itself
// (about 0.5 ms each way); one that cannot gives the whole list (10 ms and more).
func (t *tracker) forget(container netip.Addr) error {
	err := t.delete(container, ctaTupleOrig, ctaFilterOrig, ctaFilterReply)
	if err == nil {
		// To it: whatever address the client dialled, the container's is the one that answers.
		err = t.delete(container, ctaTupleReply, ctaFilterReply, ctaFilterOrig)
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	return t.forgetByList(container)
}

func (t *tracker) forgetByList(container netip.Addr) error {
	made, taken := &netlink.ConntrackFilter{}, &netlink.ConntrackFilter{}
	err := errors.Join(
		made.AddIP(netlink.ConntrackOrigSrcIP, container.AsSlice()),
		taken.AddIP(netlink.ConntrackReplySrcIP, container.AsSlice()),
	)
	if err == nil {
		_, err = t.handle.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, made, taken)
	}
	return err
}

// delete removes all connections whose tuple in one direction has the address as its source.
func (t *tracker) delete(source netip.Addr, tuple, counts, not int) error {
	req := nl.NewNetlinkRequest(int(netlink.ConntrackTable)<<8|nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK) //nolint:mnd // the subsystem's place
	req.Sockets = t.sockets
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: version})
	which := nl.NewRtAttr(tuple|unix.NLA_F_NESTED, nil)
	which.AddRtAttr(ctaTupleIP|unix.NLA_F_NESTED, nil).AddRtAttr(ctaIPv4Source, source.AsSlice())
	req.AddData(which)
	filter := nl.NewRtAttr(ctaFilter|unix.NLA_F_NESTED, nil)
	filter.AddRtAttr(counts, nl.Uint32Attr(ctaFilterSource))
	filter.AddRtAttr(not, nl.Uint32Attr(0))
	req.AddData(filter)
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
