package registrar

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"

	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/routing"
	"github.com/durable-dea/dea/internal/supervisor"
)

// Options make a Registrar.
type Options struct {
	// NATS says which servers to speak by. Without any nothing is registered.
	NATS NATS
	// Interval is between two registrations of an instance while no router says how often it wants them. Required.
	Interval time.Duration
	// Drain is how long Withdraw lets an instance serve on after its routes were taken back.
	Drain time.Duration
	// Index, Zone and IsolationSegment are the node's.
	Index                  int
	Zone, IsolationSegment string
	Log                    hclog.Logger
}

// Registrar registers the instances of one node. It is safe for concurrent use, and is to be closed. It is the supervisor's
// Watcher.
type Registrar struct {
	options Options
	log     hclog.Logger
	// nats and inbox are run's; nats is nil where there are no servers.
	nats    *nats.Conn
	inbox   string
	ctx     context.Context //nolint:containedctx // the registrar's own life
	cancel  context.CancelFunc
	running sync.WaitGroup
	// wake has an element when there may be something to send.
	wake chan struct{}

	// mu guards what follows. Who holds it takes no other lock.
	mu    sync.Mutex
	table table
	// routers have said what they want, by their ids.
	routers map[string]routing.RouterStart
	// fresh is set by a new connection: nothing that was said by the last one is sure to have arrived.
	fresh bool
	// troubles are the reasons for which there is no connection that were told.
	troubles map[string]bool
}

var _ supervisor.Watcher = (*Registrar)(nil)

// New makes a registrar and begins to connect. A NATS that is away is tried for ever; only one that cannot be spoken to by
// what the configuration says, as a certificate that is no file, fails.
func New(o Options) (*Registrar, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Registrar{
		options: o, log: o.Log.Named("routes"), ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1),
		table: newTable(), routers: map[string]routing.RouterStart{},
		troubles: map[string]bool{},
	}
	if len(o.NATS.Servers) == 0 {
		return r, nil
	}
	if err := r.connect(); err != nil {
		cancel()
		return nil, fmt.Errorf("nats_servers: %w", err)
	}
	r.running.Go(r.run)
	return r, nil
}

// Enabled tells whether there is a NATS to speak by.
func (r *Registrar) Enabled() bool { return len(r.options.NATS.Servers) > 0 }

// closeTimeout bounds what is said last.
const closeTimeout = time.Second

// Close ends the registrar. Routes of instances stay.
func (r *Registrar) Close() {
	r.cancel()
	r.running.Wait() // the last pass is not to be made beside another
	if !r.Enabled() {
		return
	}
	r.mu.Lock()
	r.table.endStatic()
	r.mu.Unlock()
	r.pass(time.Now())
	if r.nats.IsConnected() {
		_ = r.nats.FlushTimeout(closeTimeout)
	}
	r.nats.Close()
}

// Live takes note of how an instance is. It is the supervisor's to call.
func (r *Registrar) Live(i supervisor.Instance) {
	r.note(func(t *table) { t.live(i.ID, r.options.message(i), i.Ready) })
}

// Gone takes back what was registered of an instance. It is the supervisor's to call.
func (r *Registrar) Gone(i supervisor.Instance) {
	r.note(func(t *table) { t.gone(i.ID, r.options.message(i)) })
}

// Serve registers something of the node's own that is no instance, until Close. id tells it from others.
func (r *Registrar) Serve(id string, message routing.RegistryMessage) {
	r.note(func(t *table) { t.serve(id, message) })
}

func (r *Registrar) note(change func(*table)) {
	if !r.Enabled() {
		return
	}
	r.mu.Lock()
	change(&r.table)
	r.mu.Unlock()
	r.stir()
}

func (r *Registrar) stir() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// withdrawTimeout is how long Withdraw waits for NATS. An instance that is to stop stops also while NATS is away: its routers
// find out by the connections that are refused.
const withdrawTimeout = time.Second

// Withdraw takes back what was registered of an instance that is to stop, and returns when no router sends it any request
// more: when NATS has it, and Drain has passed. Of an instance without routes, and with a nil Registrar, it returns at once.
// It fails when ctx ends.
func (r *Registrar) Withdraw(ctx context.Context, i supervisor.Instance) error {
	if r == nil || !r.Enabled() {
		return nil
	}
	r.Gone(i)
	r.mu.Lock()
	leaving := r.table.leaving[i.ID]
	r.mu.Unlock()
	if leaving == nil {
		return nil
	}
	timer := time.NewTimer(withdrawTimeout)
	defer timer.Stop()
	select {
	case <-leaving.confirmed:
	case <-timer.C:
		r.log.Warn("an instance stops whose routes could not be taken back yet: NATS does not answer", "instance", i.ID)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !pause.For(ctx, r.options.Drain) {
		return context.Cause(ctx)
	}
	return nil
}
