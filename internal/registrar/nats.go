package registrar

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/routing"
	"github.com/durable-dea/dea/internal/tlsfiles"
)

// NATS says how to connect.
type NATS struct {
	// Servers are tried in any order. User and password may stand in them.
	Servers []config.URL
	// TLS is for those that speak it.
	TLS config.TLSFiles
	// Name is what the servers' monitoring shows.
	Name string
}

const (
	// reconnectWait, and up to as much more by chance, is between two tries of all servers: routes are known again soon after
	// NATS is back.
	reconnectWait = 100 * time.Millisecond
	// pingInterval and maxPingsOut find a connection dead that nobody has closed, within three intervals: far less than what
	// the routers wait before they drop a route.
	pingInterval = 5 * time.Second
	maxPingsOut  = 2
	// connectTimeout bounds one try of one server.
	connectTimeout = 2 * time.Second
	// stallTimeout bounds a write to a server that takes nothing.
	stallTimeout = 10 * time.Second
	// noBuffer has what is published while there is no connection be refused, not kept: see the package's comment.
	noBuffer = -1
)

// connect makes the client, which then tries on for ever. It is New's, and then run's, to call.
func (r *Registrar) connect() error {
	o := r.options.NATS
	servers := make([]string, 0, len(o.Servers))
	for _, server := range o.Servers {
		servers = append(servers, server.Reveal())
	}
	options := []nats.Option{
		nats.Name(o.Name),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(maxPingsOut),
		nats.Timeout(connectTimeout), nats.FlusherTimeout(stallTimeout), nats.ReconnectBufSize(noBuffer),
		nats.ConnectHandler(r.connected), nats.ReconnectHandler(r.connected),
		nats.DisconnectErrHandler(r.disconnected), nats.ReconnectErrHandler(r.disconnected), nats.ErrorHandler(r.failed),
		nats.ClosedHandler(func(*nats.Conn) { r.stir() }),
	}
	if o.TLS != (config.TLSFiles{}) {
		security, err := tlsfiles.Load("nats_tls", o.TLS)
		if err != nil {
			return err
		}
		options = append(options, nats.Secure(security))
	}
	c, err := nats.Connect(strings.Join(servers, ","), options...)
	if err != nil {
		return plain(err)
	}
	r.nats, r.inbox = c, nats.NewInbox()
	for _, subject := range []string{routing.SubjectStart, r.inbox} {
		if _, err := c.Subscribe(subject, r.heard); err != nil {
			c.Close()
			return err
		}
	}
	r.stir()
	return nil
}

// plain keeps what may hold an address with a password out of an error.
func plain(err error) error {
	for _, known := range []error{nats.ErrNoServers, nats.ErrAuthorization, nats.ErrSecureConnWanted, nats.ErrTimeout} {
		if errors.Is(err, known) {
			return known
		}
	}
	return errors.New("they cannot be connected to by these addresses")
}

// connected has everything be said anew.
func (r *Registrar) connected(c *nats.Conn) {
	r.log.Info("connected to NATS", "server", c.ConnectedUrlRedacted())
	r.mu.Lock()
	r.fresh = true
	clear(r.troubles)
	r.mu.Unlock()
	r.stir()
}

// maxTroubles is how many reasons of one outage are told: several servers may each have their own.
const maxTroubles = 10

// disconnected tells of an outage once, and of each new reason for it.
func (r *Registrar) disconnected(_ *nats.Conn, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if trouble := fmt.Sprint(err); r.ctx.Err() == nil && !r.troubles[trouble] && len(r.troubles) < maxTroubles {
		r.troubles[trouble] = true
		r.log.Warn("no connection to NATS; trying on. Routers keep the routes that they have", "error", err)
	}
}

// failed tells what the servers have against us.
func (r *Registrar) failed(_ *nats.Conn, _ *nats.Subscription, err error) {
	r.log.Error("NATS refuses something", "error", err)
}

// heard takes what a router says of itself when it comes, or is asked.
func (r *Registrar) heard(m *nats.Msg) {
	var said routing.RouterStart
	if err := json.Unmarshal(m.Data, &said); err != nil {
		r.log.Warn("a router says what cannot be read", "subject", m.Subject, "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.every()
	if m.Subject == routing.SubjectStart { // in the place of the one that was there
		maps.DeleteFunc(r.routers, func(_ string, other routing.RouterStart) bool {
			return len(said.Hosts) > 0 && slices.Equal(other.Hosts, said.Hosts)
		})
	}
	if _, known := r.routers[said.ID]; known || len(r.routers) < maxRouters {
		r.routers[said.ID] = said
	}
	// One that answers knows what was registered since it came; one that comes knows nothing.
	if every := r.every(); m.Subject == routing.SubjectStart || every < before {
		r.log.Debug("registering all", "router", said.ID, "interval", every)
		r.table.again()
		r.stir()
	}
}

// maxRouters bounds what is kept of what anyone on the bus may say.
const maxRouters = 1000

const (
	// A router that wants to hear more often than leastInterval is misconfigured, or is none.
	leastInterval = time.Second
	// mostInterval is a bound for what can be known: a route that a router has lost is not missed for longer.
	mostInterval = 5 * time.Minute
)

// every is how often an instance is registered: as the router says that wants to hear the most often, and before any drops its
// routes. Its caller holds mu.
func (r *Registrar) every() time.Duration {
	every := time.Duration(0)
	for _, router := range r.routers {
		for _, wants := range []time.Duration{router.Interval(), router.PruneThreshold() / 2} {
			if wants > 0 && (every == 0 || wants < every) {
				every = wants
			}
		}
	}
	if every == 0 {
		every = r.options.Interval
	}
	return min(max(every, leastInterval), mostInterval)
}
