package registrar

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/routing"
	"github.com/durable-dea/dea/internal/supervisor"
)

const every = 20 * time.Second

func at(port uint16, uris ...string) routing.RegistryMessage {
	return routing.RegistryMessage{Host: "10.0.0.1", Port: port, URIs: uris}
}

// said decodes payloads.
func said(t *testing.T, payloads [][]byte) []routing.RegistryMessage {
	t.Helper()
	var all []routing.RegistryMessage
	for _, payload := range payloads {
		var m routing.RegistryMessage
		require.NoError(t, json.Unmarshal(payload, &m))
		all = append(all, m)
	}
	return all
}

// takes empties a table.
func takes(t *testing.T, table *table, now time.Time) (registers, unregisters []routing.RegistryMessage) {
	t.Helper()
	gone, unconfirmed := table.takeUnsent(0)
	table.confirm(unconfirmed)
	come, _ := table.takeDue(now, every)
	return said(t, come), said(t, gone)
}

func TestAnInstanceIsRegisteredAtOnceAndThenAtTheInterval(t *testing.T) {
	table, now := newTable(), time.Now()
	table.live("a", at(1, "x"), true)
	come, next := table.takeDue(now, every)
	require.Equal(t, []routing.RegistryMessage{at(1, "x")}, said(t, come))
	require.GreaterOrEqual(t, next.Sub(now), every*4/5)
	require.LessOrEqual(t, next.Sub(now), every)
	come, _ = table.takeDue(next.Add(-2*every/slack), every)
	require.Empty(t, come, "too early")
	come, again := table.takeDue(next, every)
	require.Len(t, come, 1)
	require.True(t, again.After(next))
	table.again()
	come, _ = table.takeDue(next, every)
	require.Len(t, come, 1, "a router has come")
}

// TestRoutesOfANodeAreRegisteredTogether, and each node at times of its own, also after all of them began at once.
func TestRoutesOfANodeAreRegisteredTogether(t *testing.T) {
	const nodes, routes, rounds = 20, 50, 30
	began := time.Now()
	last := map[time.Time]bool{}
	for range nodes {
		table := newTable()
		var now time.Time
		for n := range routes { // they come one after the other
			table.live(strconv.Itoa(n), at(uint16(n+1), "x"), true)
			_, now = table.takeDue(began.Add(time.Duration(n)*every/routes), every)
		}
		passes := 0
		for ; now.Sub(began) < rounds*every; passes++ {
			come, next := table.takeDue(now, every)
			require.NotEmpty(t, come)
			require.LessOrEqual(t, next.Sub(now), every)
			now = next
		}
		require.LessOrEqual(t, passes, slack*rounds, "two of them are a part of the interval apart")
		last[now.Truncate(time.Millisecond)] = true
	}
	require.Greater(t, len(last), nodes/2, "each has its own times")
}

func TestOnlyWhatIsNoMoreIsTakenBack(t *testing.T) {
	table, now := newTable(), time.Now()
	steps := []struct {
		what                   string
		do                     func()
		registers, unregisters []routing.RegistryMessage
	}{
		{"comes, not ready", func() { table.live("a", at(1, "x"), false) }, nil, []routing.RegistryMessage{at(1, "x")}},
		{"is ready", func() { table.live("a", at(1, "x"), true) }, []routing.RegistryMessage{at(1, "x")}, nil},
		{
			"has other routes", func() { table.live("a", at(1, "y", "z"), true) },
			[]routing.RegistryMessage{at(1, "y", "z")},
			[]routing.RegistryMessage{at(1, "x")},
		},
		{"has one less", func() { table.live("a", at(1, "z"), true) }, []routing.RegistryMessage{at(1, "z")}, []routing.RegistryMessage{at(1, "y")}},
		{"has no route", func() { table.live("a", at(1), true) }, nil, []routing.RegistryMessage{at(1, "z")}},
		{"has one again", func() { table.live("a", at(1, "z"), true) }, []routing.RegistryMessage{at(1, "z")}, nil},
		{"is elsewhere", func() { table.live("a", at(2, "z"), true) }, []routing.RegistryMessage{at(2, "z")}, []routing.RegistryMessage{at(1, "z")}},
		{"is not ready", func() { table.live("a", at(2, "z"), false) }, nil, []routing.RegistryMessage{at(2, "z")}},
		{"is still not", func() { table.live("a", at(2, "z"), false) }, nil, nil},
		{"is ready and gone", func() { table.live("a", at(2, "z"), true); table.gone("a", at(2, "z")) }, nil, []routing.RegistryMessage{at(2, "z")}},
		{"is gone once more", func() { table.gone("a", at(2, "z")) }, nil, nil},
		{"was of an earlier worker", func() { table.gone("b", at(3, "b")) }, nil, []routing.RegistryMessage{at(3, "b")}},
		{"had no port", func() { table.gone("c", routing.RegistryMessage{}) }, nil, nil},
		{"comes", func() { table.live("d", at(4, "X.example.com/P", "y"), true) }, []routing.RegistryMessage{at(4, "X.example.com/P", "y")}, nil},
		{
			"has a route in other letters", func() { table.live("d", at(4, "x.EXAMPLE.com/p/"), true) },
			[]routing.RegistryMessage{at(4, "x.EXAMPLE.com/p/")},
			[]routing.RegistryMessage{at(4, "y")},
		},
		{"ends", func() { table.gone("d", at(4, "x.EXAMPLE.com/p/")) }, nil, []routing.RegistryMessage{at(4, "x.EXAMPLE.com/p/")}},
	}
	for _, step := range steps {
		step.do()
		registers, unregisters := takes(t, &table, now)
		require.Equal(t, step.registers, registers, step.what)
		require.Equal(t, step.unregisters, unregisters, step.what)
	}
	require.Empty(t, table.routes)
	_, unconfirmed := table.takeUnsent(0)
	require.Empty(t, unconfirmed)
}

func TestAWithdrawalIsSentOnEachConnectionUntilItIsConfirmed(t *testing.T) {
	table := newTable()
	table.live("a", at(1, "x"), true)
	table.gone("a", at(1, "x"))
	for connection := range uint64(3) {
		gone, unconfirmed := table.takeUnsent(connection)
		require.Len(t, gone, 1)
		require.Len(t, unconfirmed, 1)
		gone, unconfirmed = table.takeUnsent(connection)
		require.Empty(t, gone, "it was sent")
		require.Len(t, unconfirmed, 1, "and may not have arrived")
	}
	_, unconfirmed := table.takeUnsent(2)
	table.confirm(unconfirmed)
	<-table.leaving["a"].confirmed
	gone, unconfirmed := table.takeUnsent(2)
	require.Empty(t, gone)
	require.Empty(t, unconfirmed)
}

// TestAWithdrawalIsSentOnceMoreToRoutersThatWereCutOff, for as long as they may have missed it.
func TestAWithdrawalIsSentOnceMoreToRoutersThatWereCutOff(t *testing.T) {
	table, now := newTable(), time.Now()
	again := func(connection uint64) []routing.RegistryMessage {
		gone, unconfirmed := table.takeUnsent(connection)
		require.Empty(t, unconfirmed, "NATS has had it")
		return said(t, gone)
	}
	table.live("a", at(1, "x", "y"), true)
	table.gone("a", at(1, "x", "y"))
	_, unregisters := takes(t, &table, now)
	require.Len(t, unregisters, 1)
	table.forget(now)
	require.Empty(t, again(0))
	table.again()
	require.Equal(t, []routing.RegistryMessage{at(1, "x", "y")}, again(0), "a router has come")
	require.Empty(t, again(0), "once")
	require.Equal(t, []routing.RegistryMessage{at(1, "x", "y")}, again(1), "NATS is back")

	table.live("b", at(1, "Y"), true)
	require.Equal(t, []routing.RegistryMessage{at(1, "x")}, again(2), "the address is another's by now, which has one of the routes")
	table.forget(now.Add(2 * remembered))
	require.NotEmpty(t, table.withdrawals, "it was sent only now")
	table.forget(now.Add(4 * remembered))
	require.Empty(t, table.withdrawals)
	require.Empty(t, table.leaving)
}

func TestWhatFlapsIsRememberedOnce(t *testing.T) {
	table, now := newTable(), time.Now()
	for range 100 {
		table.live("a", at(1, "x"), true)
		table.live("a", at(1, "x"), false)
		_, unregisters := takes(t, &table, now)
		require.Len(t, unregisters, 1)
	}
	require.Len(t, table.withdrawals, 1)
}

// TestWhatHasArrivedIsNoAnswer to who takes the same back once more, though it is to be sent again.
func TestWhatHasArrivedIsNoAnswer(t *testing.T) {
	table, now := newTable(), time.Now()
	table.live("a", at(1, "x"), true)
	table.gone("a", at(1, "x"))
	takes(t, &table, now)
	table.again()
	table.live("a", at(1, "x"), true)
	table.gone("a", at(1, "x"))
	require.False(t, table.leaving["a"].arrived)
}

// TestWhatIsOnItsWayIsNoAnswer, also where a router has come meanwhile: it went before the instance came again.
func TestWhatIsOnItsWayIsNoAnswer(t *testing.T) {
	table := newTable()
	table.live("a", at(1, "x"), true)
	table.gone("a", at(1, "x"))
	_, onItsWay := table.takeUnsent(0)
	table.live("a", at(1, "x"), true)
	table.again()
	table.gone("a", at(1, "x"))
	table.confirm(onItsWay)
	require.False(t, table.leaving["a"].arrived)
}

// TestRoutersThatComeAgainAndAgain have no more be remembered than may be.
func TestRoutersThatComeAgainAndAgain(t *testing.T) {
	table, now := newTable(), time.Now()
	for i := range mostRemembered + 100 {
		id := strconv.Itoa(i)
		table.live(id, at(1, id), true)
		table.gone(id, at(1, id))
	}
	takes(t, &table, now)
	table.forget(now)
	require.Len(t, table.withdrawals, mostRemembered)
	require.Len(t, table.leaving, mostRemembered)
	require.NotContains(t, table.leaving, "0", "the oldest go")
}

// TestTwoPassesMayConfirmTheSame: Close sends what is left while run may be waiting for NATS.
func TestTwoPassesMayConfirmTheSame(t *testing.T) {
	table := newTable()
	table.live("a", at(1, "x"), true)
	table.gone("a", at(1, "x"))
	_, ones := table.takeUnsent(0)
	_, others := table.takeUnsent(0)
	table.confirm(ones)
	require.NotPanics(t, func() { table.confirm(others) })
	<-table.leaving["a"].confirmed
}

func TestManyRoutesTakeSeveralMessages(t *testing.T) {
	m := at(1)
	for i := range 4000 {
		m.URIs = append(m.URIs, strings.Repeat("x", 200)+strconv.Itoa(i))
	}
	m.URIs = append(m.URIs, strings.Repeat("y", 2*maxURIs)) // has one of its own
	var uris []string
	for _, payload := range encode(m) {
		require.Less(t, len(payload), 3*maxURIs)
		uris = append(uris, said(t, [][]byte{payload})[0].URIs...)
	}
	require.Equal(t, m.URIs, uris)
	require.Empty(t, encode(at(1)))
}

func TestWhatRoutersAreTold(t *testing.T) {
	o := Options{Index: 3, Zone: "z1", IsolationSegment: "s"}
	i := supervisor.Instance{ID: "guid", AppID: "app", Index: 7, URIs: []string{"x"}, Address: "10.0.0.1:61001"}
	text, err := json.Marshal(o.message(i))
	require.NoError(t, err)
	require.JSONEq(t, `{"host":"10.0.0.1","port":61001,"uris":["x"],"app":"app","private_instance_id":"guid",
		"private_instance_index":"7","tags":{"component":"dea-3","source_id":"app","app_id":"app","instance_id":"7",
		"process_instance_id":"guid","process_id":"app"},"isolation_segment":"s","availability_zone":"z1","protocol":"http1"}`, string(text))
	for _, address := range []string{"", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:x", "10.0.0.1:70000"} {
		i.Address = address
		require.Empty(t, o.message(i), address)
	}
	i.Address = "[::1]:80"
	require.Equal(t, "[::1]", o.message(i).Host)
	i.URIs = nil
	require.Empty(t, o.message(i))
}

func TestTheIntervalIsThatOfTheRouterThatWantsItMostOften(t *testing.T) {
	r := &Registrar{options: Options{Interval: every}, routers: map[string]routing.RouterStart{}}
	require.Equal(t, every, r.every())
	for i, step := range []struct {
		interval, prune int
		want            time.Duration
	}{
		{30, 120, 30 * time.Second},
		{25, 0, 25 * time.Second},
		{60, 20, 10 * time.Second},
		{0, 0, 10 * time.Second},
		{-5, -5, 10 * time.Second},
		{0, 1, leastInterval},
	} {
		id := strconv.Itoa(i)
		r.routers[id] = routing.RouterStart{
			ID: id, MinimumRegisterIntervalInSeconds: step.interval, PruneThresholdInSeconds: step.prune,
		}
		require.Equal(t, step.want, r.every(), step)
	}
}

// TestWhoHasAnAddressNowIsToldOfAgain after another was taken back there: that ends the routes of the address.
func TestWhoHasAnAddressNowIsToldOfAgain(t *testing.T) {
	table, now := newTable(), time.Now()
	table.live("now", at(1, "x"), true)
	table.live("elsewhere", at(2, "x"), true)
	registers, _ := takes(t, &table, now)
	require.Len(t, registers, 2)
	table.gone("before", at(1, "x"))
	for connection := range uint64(2) { // it is said anew on another
		gone, _ := table.takeUnsent(connection)
		come, _ := table.takeDue(now, every)
		require.Equal(t, []routing.RegistryMessage{at(1, "x")}, said(t, gone))
		require.Equal(t, []routing.RegistryMessage{at(1, "x")}, said(t, come))
	}
	come, _ := table.takeDue(now, every)
	require.Empty(t, come)
}

func TestTwoWhoSendAtOnceMayBothConfirm(t *testing.T) {
	table := newTable()
	table.live("a", at(1, "x"), true)
	table.gone("a", at(1, "x"))
	_, first := table.takeUnsent(0)
	_, second := table.takeUnsent(0)
	table.confirm(first)
	require.NotPanics(t, func() { table.confirm(second) })
}

func TestAnInstanceThatFlapsWhileNATSIsAwayIsTakenBackOnce(t *testing.T) {
	table, now := newTable(), time.Now()
	for range 1000 {
		table.live("a", at(1, "x", "y"), true)
		table.live("a", at(1, "x", "y"), false)
	}
	require.Len(t, table.withdrawals, 1)
	table.live("a", at(1, "x", "y"), true)
	registers, unregisters := takes(t, &table, now)
	require.Equal(t, []routing.RegistryMessage{at(1, "x", "y")}, unregisters)
	require.Equal(t, []routing.RegistryMessage{at(1, "x", "y")}, registers, "after it was taken back")
	table.live("a", at(1, "x", "y"), false)
	_, unregisters = takes(t, &table, now)
	require.Len(t, unregisters, 1, "what was sent is no answer to what came after")
}
