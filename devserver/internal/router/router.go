package router

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/routing"
)

// What gorouter asks for unless its operator says otherwise.
const (
	defaultInterval       = 20 * time.Second
	defaultPruneThreshold = 120 * time.Second
)

const (
	// pruneParts is how often in its threshold the table is looked through.
	pruneParts = 24
	// reconnectWait is between two tries to reach NATS.
	reconnectWait = 100 * time.Millisecond
	flushTimeout  = 5 * time.Second
	// pingInterval, twice without an answer, is when a connection that says nothing is given up: well before routes would
	// be dropped for its silence.
	pingInterval = 20 * time.Second
)

// Options make a Router.
type Options struct {
	// NATS is the server to hear of routes by, with user and password where it wants them. Required.
	NATS config.URL
	// Host is where the router is, as it tells nodes.
	Host string
	// Interval is how often nodes are asked to register; 0 for gorouter's 20 s. Whole seconds.
	Interval time.Duration
	// PruneThreshold is after how long a route is dropped that was not registered again; 0 for gorouter's 120 s. Whole seconds.
	PruneThreshold time.Duration
	// Authorities sign the certificates of endpoints that speak TLS; nil for the machine's.
	Authorities *x509.CertPool
	Log         hclog.Logger
}

// Router sends requests to instances. It is an http.Handler, and is to be closed after its server.
type Router struct {
	table *table
	proxy *httputil.ReverseProxy
	nats  *nats.Conn
	start []byte
	log   hclog.Logger

	ctx     context.Context //nolint:containedctx // the router's own life
	cancel  context.CancelFunc
	running sync.WaitGroup

	// mu guards what follows.
	mu sync.Mutex
	// heard tells that routes are subscribed to, so that nodes may be asked for theirs.
	heard bool
	// connected tells that NATS is there, so that what was not registered again is gone.
	connected bool
}

// Start makes a router and begins to connect. A NATS that is away is tried for ever.
func Start(o Options) (*Router, error) {
	threshold := cmp.Or(o.PruneThreshold, defaultPruneThreshold)
	start, err := json.Marshal(routing.RouterStart{
		ID: uuid.NewString(), Hosts: []string{o.Host},
		MinimumRegisterIntervalInSeconds: int(cmp.Or(o.Interval, defaultInterval) / time.Second),
		PruneThresholdInSeconds:          int(threshold / time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("say what the router wants: %w", err)
	}
	r := &Router{table: newTable(threshold, o.Authorities), start: start, log: o.Log}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.proxy = r.newProxy()
	if err := r.listen(o.NATS); err != nil {
		r.Close()
		return nil, err
	}
	r.running.Go(func() { r.prune(threshold / pruneParts) })
	return r, nil
}

// Close ends the router and the connections that were upgraded. Other requests are its server's to end, before.
func (r *Router) Close() {
	r.cancel()
	if r.nats != nil {
		r.nats.Close()
	}
	r.running.Wait()
	r.table.close()
}

// listen subscribes to what nodes say.
func (r *Router) listen(server config.URL) error {
	var err error
	r.nats, err = nats.Connect(server.Reveal(),
		nats.Name("router"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.PingInterval(pingInterval),
		nats.ConnectHandler(func(*nats.Conn) { r.come() }),
		nats.ReconnectHandler(func(*nats.Conn) { r.come() }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { r.lost(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			r.log.Error("NATS complains", "error", err)
		}),
	)
	if err != nil {
		// The error could quote the address, which has the password.
		return fmt.Errorf("connect to NATS at %s", server)
	}
	// One subscription for both: an instance's last word must not be overtaken.
	if _, err := r.nats.Subscribe("router.*", r.hear); err != nil {
		return fmt.Errorf("subscribe to routes: %w", err)
	}
	r.mu.Lock()
	r.heard = true
	r.mu.Unlock()
	if r.nats.IsConnected() {
		r.come()
		// So that what is said once there is a router is heard. A connection that breaks meanwhile is made again.
		_ = r.nats.FlushTimeout(flushTimeout)
	}
	return nil
}

// come tells nodes that a router is there that has not heard of all routes. Where there is no connection it does nothing: a
// new one calls it again.
func (r *Router) come() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.heard {
		return
	}
	r.table.freshen(time.Now())
	r.connected = true
	if err := r.nats.Publish(routing.SubjectStart, r.start); err != nil {
		r.log.Error("nodes were not told that the router is there", "error", err)
	}
}

func (r *Router) lost(err error) {
	r.mu.Lock()
	r.connected = false
	r.mu.Unlock()
	if r.ctx.Err() == nil {
		r.log.Warn("NATS is away: routes stay as they are", "error", err)
	}
}

// hear takes a message of a node's.
func (r *Router) hear(m *nats.Msg) {
	switch m.Subject {
	case routing.SubjectGreet:
		if m.Reply != "" {
			if err := m.Respond(r.start); err != nil {
				r.log.Warn("a node's question was not answered", "error", err)
			}
		}
		return
	case routing.SubjectRegister, routing.SubjectUnregister:
	default:
		return
	}
	var message routing.RegistryMessage
	if err := json.Unmarshal(m.Data, &message); err != nil {
		r.log.Warn("a message of routes cannot be read", "subject", m.Subject, "error", err)
		return
	}
	change := r.table.register
	if m.Subject == routing.SubjectUnregister {
		change = r.table.unregister
	}
	if !change(message, time.Now()) {
		r.log.Warn("a message of routes names no endpoint", "subject", m.Subject, "app", message.App)
		return
	}
	r.log.Debug("heard", "subject", m.Subject, "app", message.App, "instance", message.PrivateInstanceID,
		"host", message.Host, "port", message.Port, "routes", message.URIs)
}

// prune drops routes that are not registered any more, while NATS is there to hear of them.
func (r *Router) prune(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			r.mu.Lock()
			if r.connected {
				if dropped := r.table.prune(now); dropped > 0 {
					r.log.Info("endpoints were not registered again", "dropped", dropped)
				}
			}
			r.mu.Unlock()
		case <-r.ctx.Done():
			return
		}
	}
}
