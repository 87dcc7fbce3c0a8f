package router

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/routing"
)

const lasts = time.Minute

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(port uint16, id string, uris ...string) routing.RegistryMessage {
	return routing.RegistryMessage{Host: "127.0.0.1", Port: port, PrivateInstanceID: id, App: "app", URIs: uris}
}

// ids are the instances that a request may get to; "none" where the route is not known.
func (t *table) ids(host, path string) []string {
	r := t.lookup(host, path)
	if r == nil {
		return []string{"none"}
	}
	ids := []string{}
	for _, e := range *r.live.Load() {
		ids = append(ids, e.id)
	}
	return ids
}

func TestTheRouteThatFitsBestIsFound(t *testing.T) {
	table := newTable(lasts, nil)
	for i, uri := range []string{
		"a.example.com", "a.example.com/x", "a.example.com/X/y", "*.example.com", "*.example.com/x", "*.com/deep", "only.org/path",
	} {
		require.True(t, table.register(at(uint16(i+1), uri, uri), start)) //nolint:gosec // few
	}
	for _, want := range []struct{ host, path, route string }{
		{"a.example.com", "", "a.example.com"},
		{"A.Example.Com", "/", "a.example.com"},
		{"a.example.com", "/xy", "a.example.com"},
		{"a.example.com", "/X", "a.example.com/x"},
		{"a.example.com", "/x/", "a.example.com/x"},
		{"a.example.com", "/x/y/z", "a.example.com/X/y"},
		{"b.example.com", "/", "*.example.com"},
		{"c.b.example.com", "/x/y", "*.example.com/x"},
		{"b.other.com", "/deep/down", "*.com/deep"},
		{"b.other.com", "/", "none"},
		{"example.com", "/", "none"},
		{"example.com", "/deep", "*.com/deep"},
		{"only.org", "/", "none"},
		{"only.org", "/path/x", "only.org/path"},
		{"com", "/deep", "none"},
		{"", "/", "none"},
	} {
		require.Equal(t, []string{want.route}, table.ids(want.host, want.path), want)
	}
	require.Equal(t, "/X/y", table.lookup("a.example.com", "/x/y").cookiePath)
	require.Equal(t, "/", table.lookup("a.example.com", "/").cookiePath)
}

func TestEndpointsComeAndGo(t *testing.T) {
	table := newTable(lasts, nil)
	steps := []struct {
		what string
		do   func()
		x, y []string
	}{
		{"nobody", func() {}, []string{"none"}, []string{"none"}},
		{"one", func() { table.register(at(1, "a", "x", "y"), start) }, []string{"a"}, []string{"a"}},
		{"the same again", func() { table.register(at(1, "a", "x"), start) }, []string{"a"}, []string{"a"}},
		{"another", func() { table.register(at(2, "b", "x"), start) }, []string{"a", "b"}, []string{"a"}},
		{"one route less", func() { table.unregister(at(1, "a", "X"), start) }, []string{"b"}, []string{"a"}},
		{"late, for who was there before", func() { table.unregister(at(2, "old", "x"), start) }, []string{"b"}, []string{"a"}},
		{"another is where one was", func() { table.register(at(1, "c", "x"), start) }, []string{"b", "c"}, []string{}},
		{"whoever is there", func() { table.unregister(at(1, "", "x"), start) }, []string{"b"}, []string{}},
		{"was never there", func() { table.unregister(at(9, "z", "x", "?"), start) }, []string{"b"}, []string{}},
		{"no address", func() { require.False(t, table.register(at(0, "a", "x"), start)) }, []string{"b"}, []string{}},
		{"no route", func() { require.True(t, table.register(at(3, "a"), start)) }, []string{"b"}, []string{}},
	}
	for _, step := range steps {
		step.do()
		require.Equal(t, step.x, table.ids("x", "/"), step.what)
		require.Equal(t, step.y, table.ids("y", "/"), step.what)
	}
	require.Len(t, table.endpoints, 1, "of those that are gone nothing is kept")
}

func TestWhatIsNotRegisteredAgainIsDropped(t *testing.T) {
	table := newTable(lasts, nil)
	short, long := at(2, "short", "x", "y"), at(3, "long", "x")
	short.StaleThresholdInSeconds, long.StaleThresholdInSeconds = 10, 3600
	table.register(at(1, "a", "x"), start)
	table.register(short, start)
	table.register(long, start)
	require.Zero(t, table.prune(start.Add(10*time.Second)))
	require.Equal(t, 2, table.prune(start.Add(11*time.Second)), "of two routes")
	require.Equal(t, []string{"a", "long"}, table.ids("x", "/"))
	table.register(at(1, "a", "x"), start.Add(30*time.Second))
	require.Equal(t, 1, table.prune(start.Add(lasts+time.Second)), "nobody lasts longer than the router has it")
	require.Equal(t, []string{"a"}, table.ids("x", "/"))
	require.Equal(t, []string{"none"}, table.ids("y", "/"), "forgotten: it has been empty for long")

	table.freshen(start.Add(time.Hour))
	require.Zero(t, table.prune(start.Add(time.Hour+lasts)))
	gone := start.Add(time.Hour + lasts + time.Second)
	require.Equal(t, 1, table.prune(gone))
	require.Empty(t, table.ids("x", "/"), "known, and empty")
	table.prune(gone.Add(emptyFor))
	require.Empty(t, table.ids("x", "/"))
	table.prune(gone.Add(emptyFor + time.Second))
	require.Equal(t, []string{"none"}, table.ids("x", "/"))
	require.Empty(t, table.all())
}

func TestRequestsAreSpreadAndFailuresPutAside(t *testing.T) {
	table := newTable(lasts, nil)
	for i, id := range []string{"a", "b", "c"} {
		table.register(at(uint16(i+1), id, "x"), start) //nolint:gosec // few
	}
	r := table.lookup("x", "/")
	count := func(wanted string) map[string]int {
		got := map[string]int{}
		for range 30 {
			got[r.choose(wanted, nil, start).id]++
		}
		return got
	}
	require.Equal(t, map[string]int{"a": 10, "b": 10, "c": 10}, count(""))
	require.Equal(t, map[string]int{"b": 30}, count("b"))
	require.Equal(t, map[string]int{"a": 10, "b": 10, "c": 10}, count("gone"))
	b := find(*r.live.Load(), "b")
	b.putAside(start.Add(time.Second))
	require.Zero(t, count("b")["b"])
	others := []*endpoint{find(*r.live.Load(), "a"), find(*r.live.Load(), "c")}
	require.Equal(t, b, r.choose("", others, start), "better than none")
	require.Nil(t, r.choose("", append(others, b), start))
	require.Equal(t, b, r.choose("b", nil, start.Add(time.Second)))
}

// TestRequestsAndRegistrationsAtOnce is for the race detector.
func TestRequestsAndRegistrationsAtOnce(t *testing.T) {
	table := newTable(lasts, nil)
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			for i := range 500 {
				host := strconv.Itoa(i%7) + ".example"
				m := at(uint16(i%5+1), strconv.Itoa(n), host, "*."+host+"/x") //nolint:gosec // few
				switch i % 4 {
				case 0, 1:
					table.register(m, start)
				case 2:
					table.unregister(m, start)
				default:
					table.prune(start.Add(2 * lasts))
				}
				if r := table.lookup("a."+host, "/x"); r != nil {
					r.choose("1", nil, start)
				}
			}
		})
	}
	group.Wait()
	table.prune(start.Add(2 * lasts))
	table.prune(start.Add(2*lasts + 2*emptyFor))
	require.Empty(t, table.all())
	require.Empty(t, table.endpoints)
}
