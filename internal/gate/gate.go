// Package gate bounds how much goes on at one time, in all and for each of those for whom it does: so that who may have one
// thing keeps nobody from another.
package gate

import "sync"

// Gate counts what is under way. It is safe for concurrent use.
type Gate struct {
	most, each int

	mu     sync.Mutex
	all    int
	byName map[string]int
}

// New lets most be under way in all, and each of those for one name; both 1 at least.
func New(most, each int) *Gate { return &Gate{most: most, each: each, byName: map[string]int{}} }

// Enter counts one more for a name until leave, which is to be called once; false where there are as many as there may be.
func (g *Gate) Enter(name string) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= g.most || g.byName[name] >= g.each {
		return nil, false
	}
	g.all++
	g.byName[name]++
	return func() { g.leave(name) }, true
}

func (g *Gate) leave(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.byName[name]--; g.byName[name] == 0 {
		delete(g.byName, name)
	}
}
