package network

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// grace is how long links have to die with their container's namespace.
const (
	grace = time.Second
	// longestWait is how long it takes at most until links are tried again that could not be removed.
	longestWait = time.Minute
)

// reaper removes the links of detached containers that do not go by themselves, many in one go: the kernel waits for
// all its processors at each removal, 20 ms, and lets nobody else at any link meanwhile.
type reaper struct {
	n *Network

	mu sync.Mutex
	// links are dying: the index of a link, which the kernel does not give out again, to the container's.
	links map[int]uint32

	wake   chan struct{}
	stop   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func startReaper(n *Network) *reaper {
	r := &reaper{n: n, links: map[int]uint32{}, wake: make(chan struct{}, 1), stop: make(chan struct{}), closed: make(chan struct{})}
	go r.run()
	return r
}

func (r *reaper) run() {
	defer close(r.closed)
	wait := grace
	for {
		select {
		case <-r.stop:
			return
		case <-r.wake:
		}
		select {
		case <-r.stop:
			return
		case <-time.After(wait):
		}
		err := r.all()
		if err == nil {
			wait = grace
		} else {
			wait = min(2*wait, longestWait) //nolint:mnd // each time twice as long
			r.n.log.Warn("links of containers that are gone cannot be removed; this is tried again", "error", err)
			r.again()
		}
	}
}

func (r *reaper) again() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// later gives a container's links over.
func (r *reaper) later(container uint32, links ...int) {
	if len(links) == 0 {
		return
	}
	r.mu.Lock()
	for _, l := range links {
		r.links[l] = container
	}
	r.mu.Unlock()
	r.again()
}

// dying says whether a link was given over.
func (r *reaper) dying(link int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.links[link]
	return ok
}

// now removes what is left of a container.
func (r *reaper) now(container uint32) error {
	return r.remove(func(c uint32) bool { return c == container })
}

func (r *reaper) all() error { return r.remove(func(uint32) bool { return true }) }

func (r *reaper) remove(which func(container uint32) bool) error {
	r.mu.Lock()
	var links []int
	for l, container := range r.links {
		if which(container) {
			links = append(links, l)
		}
	}
	r.mu.Unlock()
	if len(links) == 0 {
		return nil
	}
	if err := r.n.deleteLinks(links); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range links {
		delete(r.links, l)
	}
	return nil
}

func (r *reaper) close() error {
	r.once.Do(func() { close(r.stop) })
	<-r.closed
	return r.all()
}

// reapLinks gives a container's links to the reaper.
func (n *Network) reapLinks(s slot) error {
	var errs []error
	for _, name := range []string{s.link, s.ifb} {
		link, err := n.linkNamed(name)
		if link != nil {
			n.reap.later(s.index, link.Attrs().Index)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeNow removes a container's links, and all that are dying, and waits.
func (n *Network) removeNow(ctx context.Context, s slot) error {
	if err := n.reapLinks(s); err != nil {
		return err
	}
	return persist(ctx, n.reap.all)
}

// removeLinks removes all links of the instance.
func (n *Network) removeLinks(ctx context.Context) error {
	links, err := n.ownLinks(ctx)
	if err != nil {
		return err
	}
	for _, l := range links {
		i, _ := n.indexOfLink(l.Attrs().Name)
		n.reap.later(i, l.Attrs().Index)
	}
	return persist(ctx, n.reap.all)
}

// ownLinks are the instance's.
func (n *Network) ownLinks(ctx context.Context) ([]netlink.Link, error) {
	var links []netlink.Link
	err := persist(ctx, func() error {
		all, err := n.links.LinkList()
		links = all
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			return errors.Join(err, unix.EAGAIN)
		}
		return err
	})
	return slices.DeleteFunc(links, func(l netlink.Link) bool {
		_, own := n.indexOfLink(l.Attrs().Name)
		return !own
	}), err
}

// doomed is the group that the instance's links are put in to be removed together. No other's links are in it.
func (n *Network) doomed() int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(n.table()))
	return int(h.Sum32()&0x7fffffff | 0x40000000) //nolint:mnd // positive for whoever shows it signed, and no small one
}

// deleteLinks removes links of this instance, by their indexes; those that are gone do not matter.
func (n *Network) deleteLinks(indexes []int) error {
	var left bool
	for _, i := range indexes {
		link, err := n.links.LinkByIndex(i)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			continue
		}
		if err != nil {
			return err
		}
		if _, own := n.indexOfLink(link.Attrs().Name); !own {
			continue
		}
		if err := n.links.LinkSetGroup(link, n.doomed()); err != nil {
			if errors.Is(err, unix.ENODEV) {
				continue
			}
			return err
		}
		left = true
	}
	if !left {
		return nil
	}
	// On a socket of its own: the one for everything else need not wait.
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(uint32(n.doomed())))) //nolint:gosec // 31 bits
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
