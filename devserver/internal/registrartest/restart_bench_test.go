package registrartest

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/routing"
)

const (
	// restarted is how many instances a node registers again: more than most have.
	restarted = 200
	// floorSubject is where a client says as much that does nothing else.
	floorSubject = "floor.register"
	// reconnectWait, and up to as much more by chance, is what the registrar takes between two tries.
	reconnectWait = 100 * time.Millisecond
)

// BenchmarkNATSRestart tells how long after a restart of NATS a router has heard again of all instances of a node, in
// milliseconds from when NATS takes connections: the mean and the longest. Beside it is the same of a client that tries as
// often, and only publishes as many messages when it is back. The router itself is back at once, so that its own pauses, two
// seconds for gorouter, are not in it.
func BenchmarkNATSRestart(b *testing.B) {
	bus := startBus(b)
	registered, floor := newRollCall(), newRollCall()
	isQuiet := listen(b, bus, registered, floor)
	var messages [][]byte
	first := registered.begin()
	r := newRegistrar(b, bus)
	for i := range restarted {
		one := instance("i"+strconv.Itoa(i), fmt.Sprintf("app-%d.example.com", i))
		one.Address = net.JoinHostPort("10.0.0.1", strconv.Itoa(10_000+i))
		r.Live(one)
		text, err := json.Marshal(routing.RegistryMessage{
			Host: "10.0.0.1", Port: uint16(10_000 + i), URIs: one.URIs, App: one.AppID, PrivateInstanceID: one.ID,
		})
		require.NoError(b, err)
		messages = append(messages, text)
	}
	startFloor(b, bus, messages)
	wait(b, first)

	var took, floorTook durations
	for b.Loop() {
		bus.stop()
		require.Eventually(b, isQuiet, patience, time.Millisecond)
		again, floorAgain := registered.begin(), floor.begin()
		begun := bus.accept()
		took.add(wait(b, again).Sub(begun))
		floorTook.add(wait(b, floorAgain).Sub(begun))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.mean(), "ms-registered")
	b.ReportMetric(took.longest(), "ms-registered-longest")
	b.ReportMetric(floorTook.mean(), "ms-floor")
	b.ReportMetric(floorTook.longest(), "ms-floor-longest")
}

// accept starts the bus again, and tells when it took its first connection.
func (b *bus) accept() time.Time {
	b.t.Helper()
	options := b.options
	var err error
	b.server, err = server.NewServer(&options)
	require.NoError(b.t, err)
	go b.server.Start()
	for address := net.JoinHostPort(options.Host, strconv.Itoa(options.Port)); ; time.Sleep(100 * time.Microsecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			require.NoError(b.t, conn.Close())
			return time.Now()
		}
	}
}

// listen hears as a router: it is back soon after NATS, and says so. What it returns tells, while NATS is away, whether all was
// heard that was said before.
func listen(b *testing.B, bus *bus, registered, floor *rollCall) (isQuiet func() bool) {
	b.Helper()
	back := func(c *nats.Conn) {
		_ = c.Publish(routing.SubjectStart, []byte(`{"id":"r","minimumRegisterIntervalInSeconds":3600}`))
	}
	c, err := nats.Connect(bus.url(), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.ReconnectHandler(back))
	require.NoError(b, err)
	b.Cleanup(c.Close)
	var subscriptions []*nats.Subscription
	for subject, call := range map[string]*rollCall{routing.SubjectRegister: registered, floorSubject: floor} {
		s, err := c.Subscribe(subject, func(m *nats.Msg) { call.hear(m.Data) })
		require.NoError(b, err)
		subscriptions = append(subscriptions, s)
	}
	require.NoError(b, c.Flush())
	return func() bool {
		waiting := 0
		for _, s := range subscriptions {
			messages, _, _ := s.Pending()
			waiting += messages
		}
		return waiting == 0 && !c.IsConnected()
	}
}

// startFloor begins to publish messages whenever NATS is back, or a router.
func startFloor(b *testing.B, bus *bus, messages [][]byte) {
	b.Helper()
	publish := func(c *nats.Conn) {
		for _, message := range messages {
			_ = c.Publish(floorSubject, message)
		}
	}
	c, err := nats.Connect(bus.url(), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait), nats.ReconnectBufSize(-1), nats.ReconnectHandler(publish))
	require.NoError(b, err)
	b.Cleanup(c.Close)
	_, err = c.Subscribe(routing.SubjectStart, func(*nats.Msg) { publish(c) })
	require.NoError(b, err)
	require.NoError(b, c.Flush())
}

// rollCall waits until all instances were heard of.
type rollCall struct {
	mu    sync.Mutex
	heard map[string]bool
	all   chan time.Time
}

func newRollCall() *rollCall {
	return &rollCall{heard: map[string]bool{}, all: make(chan time.Time, 1)}
}

// begin forgets who was heard of. What it returns has a time when all were, again.
func (c *rollCall) begin() <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.heard)
	c.all = make(chan time.Time, 1)
	return c.all
}

func (c *rollCall) hear(data []byte) {
	var m routing.RegistryMessage
	if json.Unmarshal(data, &m) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.heard)
	c.heard[m.PrivateInstanceID] = true
	if before < restarted && len(c.heard) == restarted {
		c.all <- time.Now()
	}
}

func wait(b *testing.B, all <-chan time.Time) time.Time {
	b.Helper()
	select {
	case at := <-all:
		return at
	case <-time.After(patience):
		b.Fatal("not all instances were heard of")
		return time.Time{}
	}
}

// durations are of several restarts.
type durations []time.Duration

func (d *durations) add(one time.Duration) { *d = append(*d, one) }

// mean is in milliseconds, as longest.
func (d *durations) mean() float64 {
	sum := time.Duration(0)
	for _, one := range *d {
		sum += one
	}
	return milliseconds(sum) / float64(len(*d))
}

func (d *durations) longest() float64 {
	most := time.Duration(0)
	for _, one := range *d {
		most = max(most, one)
	}
	return milliseconds(most)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
