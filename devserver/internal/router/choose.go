package router

import (
	"slices"
	"time"
)

// choose picks the endpoint to ask next, nil where every one was. tried are those that failed this request already. The one
// whose instance is wanted comes first, unless it is aside; then all in turn, those that are aside last.
func (r *route) choose(wanted string, tried []*endpoint, now time.Time) *endpoint {
	live := *r.live.Load()
	if len(live) == 0 {
		return nil
	}
	if wanted != "" {
		if e := find(live, wanted); e != nil && !slices.Contains(tried, e) && !e.isAside(now) {
			return e
		}
	}
	turn := int(r.turn.Add(1) % uint32(len(live))) //nolint:gosec // endpoints of a route are few
	var aside *endpoint
	for i := range live {
		e := live[(turn+i)%len(live)]
		switch {
		case slices.Contains(tried, e):
		case !e.isAside(now):
			return e
		case aside == nil:
			aside = e
		}
	}
	return aside
}

// find finds an instance by its id.
func find(live []*endpoint, id string) *endpoint {
	for _, e := range live {
		if e.id == id {
			return e
		}
	}
	return nil
}
