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
	"golang.org/x/sys/unix"
)

const (
	// tries and pause bound how long is waited for a kernel that is busy for a moment.
	tries = 20
	pause = 5 * time.Millisecond
	// elementsAtOnce keeps one message below the 64 KiB of a netlink attribute.
	elementsAtOnce = 500
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
	ports  map[uint16]netip.AddrPort
	// foreign are base chains that this version does not know.
	foreign []string
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
	conn, err := nftables.New(nftables.AsLasting())
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
	have.links, have.chains, have.ports = maps.Clone(have.links), maps.Clone(have.chains), maps.Clone(have.ports)
	return have, err
}

func (r *rulebook) readLocked() error {
	have := inventory{links: map[uint32]bool{}, chains: map[uint32]bool{}, ports: map[uint16]netip.AddrPort{}}
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
				continue
			}
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
	err = read(r.links, func(e nftables.SetElement) {
		if a, ok := addressIn(e.Key, unix.IFNAMSIZ); ok {
			if i, ok := r.indexOf(a); ok {
				have.links[i] = true
			}
		}
	})
	if err == nil {
		err = read(r.ports, func(e nftables.SetElement) {
			if a, ok := addressIn(e.Val, 0); ok && len(e.Key) >= lenPort && len(e.Val) >= lenAddress+lenPort {
				have.ports[port(e.Key)] = netip.AddrPortFrom(a, port(e.Val[lenAddress:]))
			}
		})
	}
	if err == nil {
		err = read(r.rules, func(e nftables.SetElement) {
			if a, ok := addressIn(e.Key, 0); ok {
				if i, ok := r.indexOf(a); ok {
					have.chains[i] = true
				}
			}
		})
	}
	return err
}

// persist repeats what the kernel refuses for a moment only.
func persist(ctx context.Context, f func() error) error {
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
