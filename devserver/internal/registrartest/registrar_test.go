package registrartest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/registrar"
	"github.com/durable-dea/dea/internal/routing"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/internal/syncbuffer"
)

// patience bounds what is waited for. Nothing here takes nearly as long.
const patience = 30 * time.Second

// bus is a NATS server that can go and come back at the same address.
type bus struct {
	t       testing.TB
	options server.Options
	server  *server.Server
}

func startBus(t testing.TB) *bus {
	t.Helper()
	b := &bus{t: t, options: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, Username: "dea", Password: "hunter2", NoSigs: true, NoLog: true,
	}}
	b.start()
	b.options.Port = b.server.Addr().(*net.TCPAddr).Port
	t.Cleanup(b.stop)
	return b
}

func (b *bus) start() {
	b.t.Helper()
	options := b.options
	var err error
	b.server, err = server.NewServer(&options)
	require.NoError(b.t, err)
	b.server.Start()
	require.True(b.t, b.server.ReadyForConnections(patience))
}

func (b *bus) stop() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

func (b *bus) url() string {
	u := url.URL{Scheme: "nats", User: url.UserPassword("dea", "hunter2"), Host: fmt.Sprintf("127.0.0.1:%d", b.options.Port)}
	return u.String()
}

// said is a message of the registrar's.
type said struct {
	subject string
	message routing.RegistryMessage
}

func (s said) String() string {
	return fmt.Sprintf("%s %s %s", strings.TrimPrefix(s.subject, "router."), s.message.PrivateInstanceID, strings.Join(s.message.URIs, ","))
}

// router hears what a router hears, and answers as one does.
type router struct {
	t    *testing.T
	nats *nats.Conn

	mu   sync.Mutex
	told []said
	asks int
}

// startRouter begins to hear. It answers with start where that is not nil.
func startRouter(t *testing.T, b *bus, start *routing.RouterStart, options ...nats.Option) *router {
	t.Helper()
	r := &router{t: t}
	var err error
	r.nats, err = nats.Connect(b.url(), append(options, nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond))...)
	require.NoError(t, err)
	t.Cleanup(r.nats.Close)
	for _, subject := range []string{routing.SubjectRegister, routing.SubjectUnregister, routing.SubjectGreet} {
		_, err := r.nats.Subscribe(subject, func(m *nats.Msg) { r.hear(m, start) })
		require.NoError(t, err)
	}
	require.NoError(t, r.nats.Flush())
	return r
}

func (r *router) hear(m *nats.Msg, start *routing.RouterStart) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.Subject == routing.SubjectGreet {
		r.asks++
		if start != nil {
			text, _ := json.Marshal(start)
			r.check(m.Respond(text))
		}
		return
	}
	one := said{subject: m.Subject}
	r.check(json.Unmarshal(m.Data, &one.message))
	r.told = append(r.told, one)
}

// check fails the test from any goroutine.
func (r *router) check(err error) {
	if err != nil {
		r.t.Error(err)
	}
}

// come says that the router has come.
func (r *router) come(start routing.RouterStart) {
	r.t.Helper()
	text, err := json.Marshal(start)
	require.NoError(r.t, err)
	require.NoError(r.t, r.nats.Publish(routing.SubjectStart, text))
}

// hears waits for messages, in any order, and forgets what it heard up to then.
func (r *router) hears(want ...string) {
	r.t.Helper()
	require.EventuallyWithT(r.t, func(c *assert.CollectT) {
		r.mu.Lock()
		defer r.mu.Unlock()
		var got []string
		for _, one := range r.told {
			got = append(got, one.String())
		}
		if assert.Subset(c, got, want) {
			r.told = nil
		}
	}, patience, time.Millisecond)
}

func newRegistrar(t testing.TB, b *bus, change ...func(*registrar.Options)) *registrar.Registrar {
	t.Helper()
	o := registrar.Options{
		NATS: registrar.NATS{Servers: []config.URL{config.URL(b.url())}}, Interval: time.Hour, Log: hclog.NewNullLogger(),
	}
	for _, f := range change {
		f(&o)
	}
	r, err := registrar.New(o)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

func instance(id string, uris ...string) supervisor.Instance {
	return supervisor.Instance{ID: id, AppID: "app", Address: "127.0.0.1:61001", URIs: uris, Ready: true}
}

func TestARouterHearsOfAllThatIsThere(t *testing.T) {
	b := startBus(t)
	router := startRouter(t, b, &routing.RouterStart{ID: "r", MinimumRegisterIntervalInSeconds: 3600})
	r := newRegistrar(t, b)
	r.Live(instance("a", "x", "y"))
	router.hears("register a x,y")
	r.Live(instance("b", "x"))
	router.hears("register b x")
	router.come(routing.RouterStart{ID: "s", MinimumRegisterIntervalInSeconds: 3600})
	router.hears("register a x,y", "register b x")
	r.Live(instance("a", "y", "z"))
	router.hears("register a y,z", "unregister a x")
	r.Gone(instance("b", "x"))
	router.hears("unregister b x")
	router.come(routing.RouterStart{ID: "s", MinimumRegisterIntervalInSeconds: 3600})
	router.hears("register a y,z")
	require.Equal(t, 1, router.asks)
}

// TestTheIntervalIsTheRouters: it is an hour until a router says that it is a second.
func TestTheIntervalIsTheRouters(t *testing.T) {
	for name, answers := range map[string]bool{"as it answers": true, "as it comes": false} {
		t.Run(name, func(t *testing.T) {
			b := startBus(t)
			start := routing.RouterStart{ID: "r", MinimumRegisterIntervalInSeconds: 1}
			var answer *routing.RouterStart
			if answers {
				answer = &start
			}
			router := startRouter(t, b, answer)
			r := newRegistrar(t, b)
			r.Live(instance("a", "x"))
			router.hears("register a x")
			if !answers {
				router.come(start)
			}
			for range 3 {
				router.hears("register a x")
			}
		})
	}
}

func TestWhatHappensWhileNATSIsAwayIsToldWhenItIsBack(t *testing.T) {
	b := startBus(t)
	// Whichever of both is back first.
	router := startRouter(t, b, nil, nats.ReconnectHandler(func(c *nats.Conn) {
		_ = c.Publish(routing.SubjectStart, []byte(`{"id":"r"}`))
	}))
	r := newRegistrar(t, b)
	r.Live(instance("stays", "x"))
	r.Live(instance("goes", "x"))
	r.Live(instance("moves", "old"))
	router.hears("register stays x", "register goes x", "register moves old")
	b.stop()
	r.Gone(instance("goes", "x"))
	r.Live(instance("comes", "x"))
	r.Live(instance("moves", "new"))
	r.Live(instance("passes", "x"))
	r.Gone(instance("passes", "x"))
	b.start()
	router.hears("register stays x", "unregister goes x", "register comes x", "register moves new", "unregister moves old")
	for range 3 {
		b.stop()
		b.start()
		router.hears("register stays x", "register comes x", "register moves new")
	}
}

// TestARouterThatComesBackLaterThanTheNodeMissesNothing: NATS keeps no message for who is not connected.
func TestARouterThatComesBackLaterThanTheNodeMissesNothing(t *testing.T) {
	for name, lose := range map[string]func(*bus, *router){
		"its connection broke": func(_ *bus, r *router) { r.nats.Close() },
		"NATS restarted":       func(b *bus, r *router) { r.nats.Close(); b.stop(); b.start() },
	} {
		t.Run(name, func(t *testing.T) {
			b := startBus(t)
			first := startRouter(t, b, nil)
			r := newRegistrar(t, b)
			r.Live(instance("stays", "x"))
			r.Live(instance("goes", "y"))
			r.Live(instance("moves", "old"))
			first.hears("register stays x", "register goes y", "register moves old")
			lose(b, first)
			witness := startRouter(t, b, nil)
			r.Live(instance("moves", "new"))
			r.Gone(instance("goes", "y"))
			witness.hears("unregister goes y", "unregister moves old")

			back := startRouter(t, b, nil)
			back.come(routing.RouterStart{ID: "back", MinimumRegisterIntervalInSeconds: 3600})
			back.hears("unregister goes y", "unregister moves old", "register stays x", "register moves new")
		})
	}
}

// TestARegistrarBeginsWithoutNATS, and with the worker's own route.
func TestARegistrarBeginsWithoutNATS(t *testing.T) {
	b := startBus(t)
	router := startRouter(t, b, nil)
	b.stop()
	r := newRegistrar(t, b)
	r.Live(instance("a", "x"))
	r.Serve("files", routing.RegistryMessage{Host: "127.0.0.1", Port: 1, URIs: []string{"files"}})
	b.start()
	router.hears("register a x", "register  files")
	r.Close()
	router.hears("unregister  files")
	require.Empty(t, router.told, "instances serve on")
}

func TestAnInstanceStopsWhenItsRoutersKnow(t *testing.T) {
	b := startBus(t)
	router := startRouter(t, b, nil)
	r := newRegistrar(t, b, func(o *registrar.Options) { o.Drain = 50 * time.Millisecond })
	one := instance("a", "x")
	r.Live(one)
	r.Live(instance("quiet"))
	router.hears("register a x")
	begun := time.Now()
	require.NoError(t, r.Withdraw(t.Context(), one))
	require.GreaterOrEqual(t, time.Since(begun), 50*time.Millisecond)
	router.hears("unregister a x")
	// One that an earlier worker started.
	require.NoError(t, r.Withdraw(t.Context(), instance("b", "y")))
	router.hears("unregister b y")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, r.Withdraw(ctx, instance("quiet")), "it has no routes")
	r.Live(instance("c", "x"))
	require.ErrorIs(t, r.Withdraw(ctx, instance("c", "x")), context.Canceled)
	b.stop()
	r.Live(instance("d", "x"))
	require.NoError(t, r.Withdraw(t.Context(), instance("d", "x")), "NATS may be away for long")
}

// TestARouteThatNATSRefusesKeepsNoOtherBack: it is too long.
func TestARouteThatNATSRefusesKeepsNoOtherBack(t *testing.T) {
	b := startBus(t)
	router := startRouter(t, b, nil)
	var log syncbuffer.Buffer
	r := newRegistrar(t, b, func(o *registrar.Options) { o.Log = hclog.New(&hclog.LoggerOptions{Output: &log}) })
	r.Live(instance("refused", strings.Repeat("x", 2*server.MAX_PAYLOAD_SIZE)))
	var all []string
	for i := range 50 {
		id := fmt.Sprintf("a%d", i)
		r.Live(instance(id, "x"))
		all = append(all, "register "+id+" x")
	}
	router.hears(all...)
	router.come(routing.RouterStart{ID: "r"})
	router.hears(all...) // in one pass, and any order
	require.Contains(t, log.String(), "longer than NATS takes")
	require.Less(t, len(log.String()), 10_000, "the route is not in the log")
}

// TestARegistrarComesBackAlsoWhereTheClientGivesUp: NATS ends the connection for a reason that the client does not try on after.
func TestARegistrarComesBackAlsoWhereTheClientGivesUp(t *testing.T) {
	b := startBus(t)
	router := startRouter(t, b, nil)
	relay := startRelay(t, b)
	r := newRegistrar(t, b, func(o *registrar.Options) {
		o.NATS.Servers = []config.URL{config.URL(strings.Replace(b.url(), fmt.Sprint(b.options.Port), relay.port(), 1))}
	})
	for range 2 {
		r.Live(instance("a", "x"))
		router.hears("register a x")
		relay.refuse()
		r.Gone(instance("a", "x"))
		r.Live(instance("b", "x"))
		router.hears("unregister a x", "register b x")
	}
	require.NoError(t, r.Withdraw(t.Context(), instance("b", "x")))
}

// TestPasswordsAreNotTold by errors or logs.
func TestPasswordsAreNotTold(t *testing.T) {
	_, err := registrar.New(registrar.Options{
		NATS: registrar.NATS{Servers: []config.URL{"nats://dea:hunter2@127.0.0.1:1", "nats://dea:hunter2@[::1"}}, Log: hclog.NewNullLogger(),
	})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")

	b := startBus(t)
	var log syncbuffer.Buffer
	o := registrar.Options{
		NATS:     registrar.NATS{Servers: []config.URL{config.URL(strings.Replace(b.url(), "dea:", "other:", 1))}},
		Interval: time.Hour, Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace}),
	}
	r, err := registrar.New(o)
	require.NoError(t, err, "it may be let in later")
	defer r.Close()
	router := startRouter(t, b, nil)
	r.Live(instance("a", "x"))
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "uthorization") }, patience, time.Millisecond)
	require.NotContains(t, log.String(), "hunter2")
	b.stop()
	b.options.Username = "other"
	b.start()
	_ = router
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "connected to NATS") }, patience, time.Millisecond)
	require.NotContains(t, log.String(), "hunter2")
}

// TestSeveralServersAndTLS: the first server is away, the second wants to see a certificate.
func TestSeveralServersAndTLS(t *testing.T) {
	authority := newAuthority(t)
	away := startBus(t)
	away.stop()
	b := &bus{t: t, options: away.options}
	b.options.Port = server.RANDOM_PORT
	b.options.TLSVerify, b.options.TLSTimeout = true, patience.Seconds()
	b.options.TLSConfig = authority.server(t)
	b.start()
	t.Cleanup(b.stop)
	b.options.Port = b.server.Addr().(*net.TCPAddr).Port
	servers := []config.URL{config.URL(away.url()), config.URL(strings.Replace(b.url(), "nats:", "tls:", 1))}
	files := authority.client(t)
	router := startRouter(t, b, nil, nats.RootCAs(files.CAFile), nats.ClientCert(files.CertFile, files.KeyFile))

	r := newRegistrar(t, b, func(o *registrar.Options) { o.NATS.Servers, o.NATS.TLS = servers, files })
	r.Live(instance("a", "x"))
	router.hears("register a x")

	var log syncbuffer.Buffer
	stranger := newRegistrar(t, b, func(o *registrar.Options) {
		o.NATS.Servers, o.NATS.TLS = servers, config.TLSFiles{CAFile: newAuthority(t).client(t).CAFile}
		o.Log = hclog.New(&hclog.LoggerOptions{Output: &log})
	})
	stranger.Live(instance("b", "x"))
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "certificate") }, patience, time.Millisecond)

	files.CertFile = files.CAFile + "-not-there"
	_, err := registrar.New(registrar.Options{NATS: registrar.NATS{Servers: servers, TLS: files}, Log: hclog.NewNullLogger()})
	require.ErrorContains(t, err, "nats_tls.cert_file")
}
