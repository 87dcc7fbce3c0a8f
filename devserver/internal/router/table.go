package router

import (
	"cmp"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-dea/dea/internal/routing"
)

// emptyFor is how long a route is known that has no endpoint any more: meanwhile it is said to have none, not to be unknown.
const emptyFor = 30 * time.Second

// table is which routes there are. Requests read it without a lock.
type table struct {
	// lasts is how long a registration is good for, at most.
	lasts       time.Duration
	authorities *x509.CertPool

	// hosts and wildcards have []*route by key.host, the longest path first. A slice that is in them does not change.
	hosts, wildcards sync.Map

	// mu is held by who changes anything.
	mu     sync.Mutex
	routes map[key]*route
	// endpoints are all that are in a route, by address.
	endpoints map[string]*endpoint
}

// route is the endpoints of one key.
type route struct {
	key
	// cookiePath is the path as it was registered, for which a session's cookie is.
	cookiePath string
	// live are the endpoints. The slice does not change.
	live atomic.Pointer[[]*endpoint]
	// turn counts requests, to spread them.
	turn atomic.Uint32

	// The table guards what follows.
	registered map[*endpoint]registration
	// emptied is when the last endpoint went.
	emptied time.Time
}

// registration is when an endpoint was last registered and for how long that is good.
type registration struct {
	at    time.Time
	lasts time.Duration
}

func newTable(lasts time.Duration, authorities *x509.CertPool) *table {
	return &table{lasts: lasts, authorities: authorities, routes: map[key]*route{}, endpoints: map[string]*endpoint{}}
}

// register adds an endpoint to routes, or confirms it. False is a message that says nothing.
func (t *table) register(m routing.RegistryMessage, now time.Time) bool {
	who, ok := identify(m)
	if !ok {
		return false
	}
	lasts := t.lasts
	if asked := time.Duration(m.StaleThresholdInSeconds) * time.Second; asked > 0 && asked < lasts {
		lasts = asked
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.endpoints[who.address]
	if e != nil && e.identity != who {
		t.drop(e, now)
		e = nil
	}
	if e == nil {
		e = newEndpoint(who, t.authorities)
	}
	for _, uri := range m.URIs {
		if k, path, ok := parseKey(uri); ok {
			t.put(t.route(k, path), e, registration{at: now, lasts: lasts})
		}
	}
	return true
}

// unregister takes an endpoint out of routes. A message of another instance than the one that is at the address now is late,
// and does nothing; one without an id means whoever is there. False is a message that says nothing.
func (t *table) unregister(m routing.RegistryMessage, now time.Time) bool {
	who, ok := identify(m)
	if !ok {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.endpoints[who.address]
	if e == nil || (who.id != "" && who.id != e.id) {
		return true
	}
	for _, uri := range m.URIs {
		if k, _, ok := parseKey(uri); ok {
			if r := t.routes[k]; r != nil {
				t.remove(r, e, now)
			}
		}
	}
	return true
}

// prune drops what was not registered again in time, and routes that have long been empty. It returns how many
// registrations it dropped.
func (t *table) prune(now time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	dropped := 0
	for _, r := range t.routes {
		for e, registered := range r.registered {
			if now.Sub(registered.at) > registered.lasts {
				t.remove(r, e, now)
				dropped++
			}
		}
		if len(r.registered) == 0 && now.Sub(r.emptied) > emptyFor {
			t.forget(r)
		}
	}
	return dropped
}

// freshen lets every registration begin anew: for as long as NATS was away nobody could register again.
func (t *table) freshen(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.routes {
		for e, registered := range r.registered {
			registered.at = now
			r.registered[e] = registered
		}
	}
}

// lookup finds the route of a request, nil where there is none. host is without its port.
func (t *table) lookup(host, path string) *route {
	host, path = strings.ToLower(host), strings.ToLower(path)
	if r := longest(&t.hosts, host, path); r != nil {
		return r
	}
	for {
		var ok bool
		if _, host, ok = strings.Cut(host, "."); !ok {
			return nil
		}
		if r := longest(&t.wildcards, host, path); r != nil {
			return r
		}
	}
}

func longest(in *sync.Map, host, path string) *route {
	found, ok := in.Load(host)
	if !ok {
		return nil
	}
	for _, r := range found.([]*route) {
		if r.covers(path) {
			return r
		}
	}
	return nil
}

// drop takes an endpoint out of all its routes.
func (t *table) drop(e *endpoint, now time.Time) {
	for r := range e.routes {
		t.remove(r, e, now)
	}
}

func (t *table) put(r *route, e *endpoint, registered registration) {
	if _, known := r.registered[e]; !known {
		live := append(slices.Clone(*r.live.Load()), e)
		r.live.Store(&live)
		e.routes[r] = struct{}{}
		t.endpoints[e.address] = e
	}
	r.registered[e] = registered
}

func (t *table) remove(r *route, e *endpoint, now time.Time) {
	if _, known := r.registered[e]; !known {
		return
	}
	delete(r.registered, e)
	live := slices.DeleteFunc(slices.Clone(*r.live.Load()), func(other *endpoint) bool { return other == e })
	r.live.Store(&live)
	if len(live) == 0 {
		r.emptied = now
	}
	delete(e.routes, r)
	if len(e.routes) == 0 {
		delete(t.endpoints, e.address)
		// No request that comes now may take one of its connections.
		e.transport.CloseIdleConnections()
	}
}

// route finds a route or makes it. path is the key's as it was written.
func (t *table) route(k key, path string) *route {
	if r := t.routes[k]; r != nil {
		return r
	}
	r := &route{key: k, cookiePath: cmp.Or(path, "/"), registered: map[*endpoint]registration{}}
	r.live.Store(&[]*endpoint{})
	t.routes[k] = r
	t.publish(r, func(routes []*route) []*route {
		routes = append(routes, r)
		slices.SortStableFunc(routes, func(a, b *route) int { return len(b.path) - len(a.path) })
		return routes
	})
	return r
}

func (t *table) forget(r *route) {
	delete(t.routes, r.key)
	t.publish(r, func(routes []*route) []*route {
		return slices.DeleteFunc(routes, func(other *route) bool { return other == r })
	})
}

// publish changes which routes requests find with the host of r.
func (t *table) publish(r *route, change func([]*route) []*route) {
	in := &t.hosts
	if r.wildcard {
		in = &t.wildcards
	}
	var routes []*route
	if found, ok := in.Load(r.host); ok {
		routes = slices.Clone(found.([]*route))
	}
	if routes = change(routes); len(routes) == 0 {
		in.Delete(r.host)
		return
	}
	in.Store(r.host, routes)
}

// close ends the idle connections of all endpoints.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.endpoints {
		e.transport.CloseIdleConnections()
	}
}

// all are the routes, in order.
func (t *table) all() []*route {
	t.mu.Lock()
	defer t.mu.Unlock()
	routes := make([]*route, 0, len(t.routes))
	for _, r := range t.routes {
		routes = append(routes, r)
	}
	slices.SortFunc(routes, func(a, b *route) int { return strings.Compare(a.String(), b.String()) })
	return routes
}
