package registrar

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/durable-dea/dea/internal/routing"
)

// table is what the routers are to know. It has no lock and no clock.
type table struct {
	routes map[string]*route
	// withdrawals are those that are not confirmed, and those that lately were, the oldest first.
	withdrawals []*withdrawal
	// leaving are the last withdrawals of instances that are gone, for who waits for them.
	leaving map[string]*withdrawal
}

// route is something that is, or may be, registered.
type route struct {
	// told is what the routers know, or will when it is sent; without URIs there is nothing.
	told routing.RegistryMessage
	// payloads are told, encoded.
	payloads [][]byte
	// due is when it is to be sent next.
	due time.Time
	// static is set for what is no instance.
	static bool
}

// withdrawal takes something back.
type withdrawal struct {
	// was is what is taken back, payloads that, encoded.
	was      routing.RegistryMessage
	payloads [][]byte
	// sent is set once it was published, until again, and connection then tells over which connection; published is never unset.
	sent       bool
	published  bool
	connection uint64
	// confirmed is closed when NATS has it, and arrived set. A router that was cut off then has not heard it.
	confirmed chan struct{}
	arrived   bool
	// seen is when it was first looked at after it was sent, for forget.
	seen time.Time
}

// takesBack tells whether it is of just this.
func (w *withdrawal) takesBack(m routing.RegistryMessage) bool {
	return isSame(w.was, m) && w.was.PrivateInstanceID == m.PrivateInstanceID && slices.Equal(w.was.URIs, m.URIs)
}

func newTable() table {
	return table{routes: map[string]*route{}, leaving: map[string]*withdrawal{}}
}

// live takes note of an instance. Of one that is seen for the first time and is not ready, an earlier worker may have said
// otherwise.
func (t *table) live(id string, m routing.RegistryMessage, ready bool) {
	delete(t.leaving, id)
	one, known := t.routes[id]
	if !known {
		one = &route{}
		if !ready {
			one.told = m
		}
		t.routes[id] = one
	}
	if !ready {
		m = routing.RegistryMessage{}
	}
	t.tell(one, m)
}

// tell has a route be registered as m, and takes back what it was and is no longer.
func (t *table) tell(one *route, m routing.RegistryMessage) *withdrawal {
	was := one.told
	if isSame(was, m) {
		was = without(was, m)
	}
	one.told, one.payloads, one.due = m, encode(m), time.Time{}
	if len(was.URIs) == 0 {
		return nil
	}
	if w := t.unsent(was); w != nil {
		return w
	}
	// This one says what they said.
	t.withdrawals = slices.DeleteFunc(t.withdrawals, func(w *withdrawal) bool { return w.arrived && w.takesBack(was) })
	w := &withdrawal{was: was, payloads: encode(was), confirmed: make(chan struct{})}
	t.withdrawals = append(t.withdrawals, w)
	return w
}

// unsent is the withdrawal of the same that waits already, nil when there is none: while NATS is away an instance that comes and
// goes adds nothing.
func (t *table) unsent(was routing.RegistryMessage) *withdrawal {
	for _, w := range t.withdrawals {
		if !w.published && w.takesBack(was) {
			return w
		}
	}
	return nil
}

// gone takes back all of an instance. One that was never live here may have been registered by an earlier worker.
func (t *table) gone(id string, m routing.RegistryMessage) {
	one, known := t.routes[id]
	if !known {
		if _, left := t.leaving[id]; left {
			return
		}
		one = &route{told: m}
	}
	delete(t.routes, id)
	if w := t.tell(one, routing.RegistryMessage{}); w != nil {
		t.leaving[id] = w
	}
}

func (t *table) serve(id string, m routing.RegistryMessage) {
	one, known := t.routes[id]
	if !known {
		one = &route{static: true}
		t.routes[id] = one
	}
	t.tell(one, m)
}

func (t *table) endStatic() {
	for id, one := range t.routes {
		if one.static {
			delete(t.routes, id)
			t.tell(one, routing.RegistryMessage{})
		}
	}
}

// again has all be sent at once: what is there, and what was taken back. Who comes knows nothing; but a router that comes back may
// have been cut off, and keep a route of an address that has another app by now.
func (t *table) again() {
	for _, one := range t.routes {
		one.due = time.Time{}
	}
	for _, w := range t.withdrawals {
		w.sent = false
	}
}

// slack is the part of an interval by which a route may be sent early, with another: to wake the worker costs more than a
// message.
const slack = 10

// takeDue gives the payloads that are due, and when the next ones are; zero for never. What it gives counts as sent, and falls
// due again together: chance parts one node from the others, not a node's routes.
func (t *table) takeDue(now time.Time, every time.Duration) (registers [][]byte, next time.Time) {
	again := now.Add(every - time.Duration(rand.Float64()*float64(every)/5)) //nolint:gosec // spreads, protects nothing
	for _, one := range t.routes {
		if len(one.payloads) == 0 {
			continue
		}
		if !one.due.After(now.Add(every / slack)) {
			registers = append(registers, one.payloads...)
			one.due = again
		}
		if next.IsZero() || one.due.Before(next) {
			next = one.due
		}
	}
	return registers, next
}

// againAt has the routes of a place be sent at once.
func (t *table) againAt(place routing.RegistryMessage) {
	for _, one := range t.routes {
		if isSame(one.told, place) {
			one.due = time.Time{}
		}
	}
}

// takeUnsent gives the payloads of the withdrawals that are to be published over a connection, which count as sent over it, and
// all withdrawals that are to be confirmed then. A router knows an instance by its address alone, so that a withdrawal ends
// also the routes of the one that has the address by now; takeDue gives those again.
func (t *table) takeUnsent(connection uint64) (unregisters [][]byte, unconfirmed []*withdrawal) {
	for _, w := range t.withdrawals {
		if !w.arrived {
			unconfirmed = append(unconfirmed, w)
		}
		if w.sent && w.connection == connection {
			continue
		}
		w.sent, w.published, w.connection, w.seen = true, true, connection, time.Time{}
		if w.arrived {
			unregisters = append(unregisters, encode(t.stillGone(w.was))...)
			continue
		}
		unregisters = append(unregisters, w.payloads...)
		t.againAt(w.was)
	}
	return unregisters, unconfirmed
}

// stillGone is what is left to be taken back: not what an instance has again that is at the same place by now.
func (t *table) stillGone(was routing.RegistryMessage) routing.RegistryMessage {
	for _, one := range t.routes {
		if isSame(one.told, was) {
			was = without(was, one.told)
		}
	}
	return was
}

// confirm says that withdrawals have arrived, of which some may have been said to before.
func (t *table) confirm(those []*withdrawal) {
	for _, w := range those {
		if !w.arrived {
			w.arrived = true
			close(w.confirmed)
		}
	}
}

// remembered is for how long it is known what was taken back: who stops an instance asks soon after, and a router that was cut off
// has dropped by then what nobody registered again.
const remembered = 5 * time.Minute

// mostRemembered bounds those that have arrived: routers that come back again and again would have each be remembered.
const mostRemembered = 10_000

// forget drops what nobody waits for any more. It is called while there is a connection, after what is to be sent was taken.
func (t *table) forget(now time.Time) {
	isOld := func(w *withdrawal) bool {
		if w.seen.IsZero() {
			w.seen = now
		}
		return now.Sub(w.seen) > remembered
	}
	maps.DeleteFunc(t.leaving, func(_ string, w *withdrawal) bool { return isOld(w) })
	arrived := 0
	for _, w := range t.withdrawals {
		if w.arrived {
			arrived++
		}
	}
	t.withdrawals = slices.DeleteFunc(t.withdrawals, func(w *withdrawal) bool {
		switch {
		case !w.arrived:
			return false
		case isOld(w):
		case arrived > mostRemembered:
			maps.DeleteFunc(t.leaving, func(_ string, of *withdrawal) bool { return of == w })
		default:
			return false
		}
		arrived--
		return true
	})
}
