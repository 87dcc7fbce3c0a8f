package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Options say what a Network is.
type Options struct {
	// Instance is the wardend's name: 1 to 8 of a-z and 0-9, one wardend's alone on this kernel.
	Instance string
	// Pool is the IPv4 network whose /30s the containers have, with at least one of them.
	Pool netip.Prefix
	// Allow and Deny are about the world outside of host and pool, which containers can reach but for Deny; where
	// both hold an address, Allow wins. IPv6 networks have no effect: containers have no IPv6.
	Allow, Deny []netip.Prefix
	// Log may be nil.
	Log hclog.Logger
}

// locks is how many containers' networks can be worked on at once.
const locks = 64

// Network gives containers their networks. Its methods may be called at the same time; those that take a network take
// a /30 of the pool and fail with ErrNotInPool for any other. The namespace it works in is the one that Open ran in.
type Network struct {
	names
	log   hclog.Logger
	book  *rulebook
	links *netlink.Handle
	track *tracker
	// home is the network namespace of this process.
	home *os.File
	reap *reaper
	// slots are locks, one for every so manieth network.
	slots [locks]sync.Mutex
}

// Open makes what all containers share: the table, the route for the pool, forwarding. What an earlier server with the
// same instance name left is taken over: rules of the table are replaced in one step, no connection notices, and
// containers keep what they have. It fails with ErrOtherPool when there are containers of another pool, and after an error everything is
// as it was, or can be opened again.
func Open(ctx context.Context, o Options) (*Network, error) {
	n, err := prepare(o)
	if err != nil {
		return nil, failed(err, "network of containers cannot be set up")
	}
	if err := n.setUp(ctx); err != nil {
		return nil, errors.Join(failed(err, "network of containers cannot be set up"), n.Close())
	}
	return n, nil
}

// prepare opens sockets and changes nothing.
func prepare(o Options) (*Network, error) {
	named, err := newNames(o.Instance, o.Pool)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	_, err = os.Stat(sysctlRoot + "/ipv6")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ipv4 := func(networks []netip.Prefix) []netip.Prefix {
		return slices.DeleteFunc(slices.Clone(networks), func(p netip.Prefix) bool { return !p.Addr().Is4() })
	}
	t, err := newTable(named, ipv4(o.Allow), ipv4(o.Deny), err == nil)
	if err != nil {
		return nil, err
	}
	n := &Network{names: named, log: o.Log, book: &rulebook{table: t}}
	if n.home, err = os.Open(ownNamespace); err != nil {
		return nil, err
	}
	if n.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		n.home.Close()
		return nil, err
	}
	if n.track, err = newTracker(); err != nil {
		n.home.Close()
		n.links.Close()
		return nil, err
	}
	n.reap = startReaper(n)
	return n, nil
}

func (n *Network) setUp(ctx context.Context) error {
	if err := n.forward(); err != nil {
		return err
	}
	if err := n.routePool(); err != nil {
		return err
	}
	have, err := n.book.read(ctx)
	if err != nil {
		return fmt.Errorf("nftables table %s cannot be read: %w", n.table(), err)
	}
	if err := n.leavePool(have); err != nil {
		return err
	}
	err = n.book.commit(ctx, func(c *nftables.Conn) error { return n.book.build(c, have.foreign) })
	if err != nil {
		return fmt.Errorf("nftables table %s cannot be made: %w", n.table(), err)
	}
	_, err = n.book.read(ctx)
	return err
}

// leavePool takes the route of an earlier server's pool away, where that was another.
func (n *Network) leavePool(have inventory) error {
	if len(have.strangers) > 0 {
		return fmt.Errorf("container %s: %w", have.strangers[0], ErrOtherPool)
	}
	for _, chain := range have.foreign {
		if pool, ok := poolOf(chain); ok {
			n.log.Info("the pool of networks is another than before", "before", pool, "now", n.pool)
			if err := n.removeRoute(pool); err != nil {
				return err
			}
		}
	}
	return nil
}

// forward lets the host pass packets on.
func (n *Network) forward() error {
	const name = "ipv4/ip_forward"
	value, err := readSysctl(name)
	if err != nil || value != "0" {
		return err
	}
	n.log.Info("this host did not forward packets between networks; from now on it does, for the containers", "sysctl", "net.ipv4.ip_forward")
	return writeSysctl(name, "1")
}

// unreachable is the route of a pool's addresses that no container has. Its metric is the worst: another route to the
// same network, by the host's owner, goes before.
func unreachable(pool netip.Prefix) *netlink.Route {
	const worst = 0xffffffff
	return &netlink.Route{Dst: ipNet(pool), Type: unix.RTN_UNREACHABLE, Table: unix.RT_TABLE_MAIN, Priority: worst, Protocol: unix.RTPROT_STATIC}
}

func (n *Network) routePool() error {
	if err := n.links.RouteReplace(unreachable(n.pool)); err != nil {
		return fmt.Errorf("unreachable route for %s: %w", n.pool, err)
	}
	return nil
}

func (n *Network) removeRoute(pool netip.Prefix) error {
	err := n.links.RouteDel(unreachable(pool))
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return failed(err, "route of %s cannot be removed", pool)
}

// Close lets go of sockets, after the links of detached containers are gone. All containers keep their network.
func (n *Network) Close() error {
	err := n.reap.close()
	n.book.close()
	n.links.Close()
	n.track.close()
	n.home.Close()
	return failed(err, "links of containers that are gone are left")
}

// Networks are those that have anything on the kernel, in ascending order, but for links that Detach left to die.
func (n *Network) Networks(ctx context.Context) ([]netip.Prefix, error) {
	found := map[uint32]bool{}
	links, err := n.ownLinks(ctx)
	if err != nil {
		return nil, failed(err, "links of containers cannot be listed")
	}
	for _, l := range links {
		if i, ok := n.indexOfLink(l.Attrs().Name); ok && !n.reap.dying(l.Attrs().Index) {
			found[i] = true
		}
	}
	have, err := n.book.read(ctx)
	if err != nil {
		return nil, failed(err, "nftables table %s cannot be read", n.table())
	}
	for i := range have.links {
		found[i] = true
	}
	for i := range have.chains {
		found[i] = true
	}
	for container := range have.ports.of {
		if i, ok := n.indexOf(container); ok {
			found[i] = true
		}
	}
	networks := make([]netip.Prefix, 0, len(found))
	for i := range found {
		networks = append(networks, n.slotAt(i).network())
	}
	slices.SortFunc(networks, netip.Prefix.Compare)
	return networks, nil
}

// Remove takes away all of the instance, whatever there is: links, table, the pool's route. Containers that still run
// have no network then. It can be repeated; afterwards only Close makes sense. Forwarding stays on: others may need it.
func (n *Network) Remove(ctx context.Context) error {
	// The table last: without it, a container that lives could send what it wants.
	if err := n.removeLinks(ctx); err != nil {
		return failed(err, "links of containers cannot be removed")
	}
	err := n.book.commit(ctx, func(c *nftables.Conn) error {
		for _, t := range []*nftables.Table{n.book.ip, n.book.ip6} {
			if t != nil {
				c.AddTable(t)
				c.DelTable(t)
			}
		}
		return nil
	})
	err = failed(err, "nftables table %s cannot be removed", n.table())
	return errors.Join(err, n.removeRoute(n.pool))
}

// lock keeps others from the same container's network. It returns how to let go.
func (n *Network) lock(s slot) func() {
	m := &n.slots[s.index%locks]
	m.Lock()
	return m.Unlock
}
