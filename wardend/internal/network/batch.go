package network

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// tries and pause bound how long is waited for a kernel that is busy for a moment.
	tries = 20
	pause = 5 * time.Millisecond
	// elementsAtOnce keeps one message below the 64 KiB of a netlink attribute.
	elementsAtOnce = 500
	// bufferSize is how many bytes a batch, and its answers, may take in the kernel: some kilobytes for each network
	// that is allowed or denied, and no less for the answer to each rule. The default is enough for 200 of them.
	bufferSize = 64 << 20
)

// rulebook is the table on the kernel, and what is known of it. Nobody else changes the table.
type rulebook struct {
	*table

	mu sync.Mutex
	// conn lasts: closing a netlink socket after something was deleted waits for the kernel's grace period, 15 ms.
	conn *nftables.Conn
	have inventory
	// stale: a batch failed in a way that leaves open whether it was applied.
	stale bool
}

// inventory is what the containers have in the table.
type inventory struct {
	links  map[uint32]bool
	chains map[uint32]bool
	ports  portBook
	// foreign are chains that this version does not know, or of another pool.
	foreign []string
	// strangers are addresses outside of the pool.
	strangers []netip.Addr
}

// commit sends what fill adds, all or nothing. Fill is called again when the kernel was busy, or lost its answer: it
// must mean the same when it was applied already.
func (r *rulebook) commit(ctx context.Context, fill func(*nftables.Conn) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commitLocked(ctx, fill)
}

func (r *rulebook) commitLocked(ctx context.Context, fill func(*nftables.Conn) error) error {
	return persist(ctx, func() error {
		if r.stale {
			if err := r.readLocked(); err != nil {
				return err
			}
		}
		conn, err := r.connLocked()
		if err != nil {
			return err
		}
		if err = fill(conn); err == nil {
			err = conn.Flush()
		}
		if err != nil {
			r.dropLocked()
			r.stale = true
		}
		return err
	})
}

func (r *rulebook) connLocked() (*nftables.Conn, error) {
	if r.conn != nil {
		return r.conn, nil
	}
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(bufferSize), c.SetWriteBuffer(bufferSize))
	}))
	if err != nil {
		return nil, err
	}
	r.conn = conn
	return conn, nil
}

// dropLocked closes the socket: after an error there may be answers in it that belong to nothing.
func (r *rulebook) dropLocked() {
	if r.conn != nil {
		_ = r.conn.CloseLasting()
		r.conn = nil
	}
}

// attached says whether a container may send.
func (r *rulebook) attached(s slot) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.have.links[s.index]
}

func (r *rulebook) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropLocked()
}

// read learns from the kernel what the containers have; nothing when there is no table.
func (r *rulebook) read(ctx context.Context) (inventory, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := persist(ctx, r.readLocked)
	have := r.have
	have.links, have.chains, have.ports = maps.Clone(have.links), maps.Clone(have.chains), have.ports.clone()
	return have, err
}

func (r *rulebook) readLocked() error {
	have := inventory{links: map[uint32]bool{}, chains: map[uint32]bool{}, ports: newPortBook()}
	conn, err := r.connLocked()
	if err != nil {
		return err
	}
	err = r.readChains(conn, &have)
	if err == nil {
		err = r.readSets(conn, &have)
	}
	if err != nil {
		r.dropLocked()
		return err
	}
	r.have, r.stale = have, false
	return nil
}

func (r *rulebook) readChains(conn *nftables.Conn, have *inventory) error {
	all, err := conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, c := range r.chains() {
		known[c.Name] = true
	}
	for _, c := range all {
		if c.Table == nil || c.Table.Name != r.ip.Name || known[c.Name] {
			continue
		}
		text, own := strings.CutPrefix(c.Name, chainPrefix)
		if address, err := netip.ParseAddr(text); own && err == nil {
			if i, ok := r.indexOf(address); ok {
				have.chains[i] = true
			} else {
				have.strangers = append(have.strangers, address)
			}
			continue
		}
		have.foreign = append(have.foreign, c.Name)
	}
	return nil
}

func (r *rulebook) readSets(conn *nftables.Conn, have *inventory) error {
	tables, err := conn.ListTablesOfFamily(r.ip.Family)
	if err != nil || !slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == r.ip.Name }) {
		return err
	}
	sets, err := conn.GetSets(r.ip)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, s := range sets {
		there[s.Name] = true
	}
	read := func(set *nftables.Set, element func(nftables.SetElement)) error {
		if !there[set.Name] {
			return nil
		}
		elements, err := conn.GetSetElements(set)
		for _, e := range elements {
			element(e)
		}
		return err
	}
	// mark notes a container with something in the table.
	mark := func(where map[uint32]bool, key []byte, offset int) {
		a, ok := addressIn(key, offset)
		if i, own := r.indexOf(a); ok && own {
			where[i] = true
		} else if ok {
			have.strangers = append(have.strangers, a)
		}
	}
	err = read(r.links, func(e nftables.SetElement) { mark(have.links, e.Key, unix.IFNAMSIZ) })
	if err == nil {
		err = read(r.rules, func(e nftables.SetElement) { mark(have.chains, e.Key, 0) })
	}
	if err == nil {
		err = read(r.ports, func(e nftables.SetElement) {
			if a, ok := addressIn(e.Val, 0); ok && len(e.Key) >= lenPort && len(e.Val) >= lenAddress+lenPort {
				have.ports.add(port(e.Key), netip.AddrPortFrom(a, port(e.Val[lenAddress:])))
			}
		})
	}
	return err
}

// persist repeats what the kernel refuses for a moment only.
func persist(ctx context.Context, f func() error) error { return persistFor(ctx, tries, f) }

func persistFor(ctx context.Context, tries int, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		passing := errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS)
		if !passing || try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}
