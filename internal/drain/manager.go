package drain

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/containerpath"
	"github.com/durable-dea/dea/internal/gate"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/internal/syslog"
)

const (
	// finishTime bounds how long the end of an instance waits for its drains. After hurryTime only its last lines are sent.
	finishTime = 3 * time.Second
	hurryTime  = finishTime / 2
	// saveEvery is between two looks for positions to keep, sweepEvery between two for what is kept of instances that are gone;
	// the first is late enough for every instance to have been found again.
	saveEvery  = 2 * time.Second
	sweepEvery = time.Hour
)

// Options say how lines are sent.
type Options struct {
	// BaseDir is the node's base directory: positions are kept in drains beneath it.
	BaseDir string
	// Node is the node's id, which stands in messages.
	Node string
	// MaxAge is how long a line may wait for its drain before it is lost; above 0.
	MaxAge time.Duration
	// Max is how many drains are sent to at once, 1 at least, of which one app may have a quarter. Further ones wait until another
	// ends: what their instances write waits in its log, as for a drain that is away.
	Max int
	// Networks say where drains may not lead.
	Networks Networks
	// CAs are the authorities whose certificates drains may have; nil for those of the system.
	CAs *x509.CertPool
	Log hclog.Logger
}

// Manager sends the lines of a node's instances to their drains. It is a supervisor.Watcher, and safe for concurrent use. A
// nil one sends nothing.
type Manager struct {
	options   Options
	dialer    dialer
	positions positions
	// slots are for the drains that are sent to, by their apps.
	slots  *gate.Gate
	totals totals
	log    hclog.Logger
	// hurry is hurryTime.
	hurry time.Duration

	ctx     context.Context //nolint:containedctx // the manager's own life, which no caller has
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	instances map[string]*following
	// saving is set while somebody looks for positions to keep: a node without drains is not woken for them.
	saving bool
}

// New makes a manager that follows nobody yet. It is to be closed.
func New(o Options) (*Manager, error) {
	dir := filepath.Join(o.BaseDir, "drains")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("base_dir: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &Manager{
		options: o, dialer: dialer{egress{o.Networks, net.InterfaceAddrs}, o.CAs}, positions: positions{dir},
		slots: gate.New(o.Max, (o.Max+3)/4), log: o.Log.Named("drains"), hurry: hurryTime, ctx: ctx, cancel: cancel, instances: map[string]*following{},
	}
	m.running.Go(func() {
		for pause.For(ctx, sweepEvery) {
			m.sweep()
		}
	})
	return m, nil
}

// Close ends all connections, and keeps positions for the next manager.
func (m *Manager) Close() {
	m.mu.Lock() // nobody begins any more
	m.cancel()
	m.mu.Unlock()
	m.running.Wait()
	m.save()
}

// Begin begins to send the lines of an instance to its drains, from its first line or from where a manager before this one
// has come, and until Finish, or until its container is gone. Of one that is followed already, or has no drains, it does
// nothing.
func (m *Manager) Begin(instance supervisor.Instance) {
	if m == nil || len(instance.LogDrains.Drains) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin(instance)
}

// Live is Begin: the supervisor tells so of instances that the worker has not started itself.
func (m *Manager) Live(instance supervisor.Instance) { m.Begin(instance) }

// Gone does nothing: what the instance has written last is still to be sent, and Finish or the end of its container follow.
func (m *Manager) Gone(supervisor.Instance) {}

// begin is Begin for who holds mu; nil where there is nobody to send to.
func (m *Manager) begin(instance supervisor.Instance) *following {
	if one, ok := m.instances[instance.ID]; ok || m.ctx.Err() != nil {
		return one
	}
	all, refused := targets(instance.LogDrains)
	log := m.log.With("instance", instance.ID, "app", instance.AppID, "index", instance.Index)
	for _, words := range refused {
		log.Warn(words)
	}
	if len(all) == 0 {
		return nil
	}
	one := &following{done: make(chan struct{})}
	var ctx context.Context
	ctx, one.end = context.WithCancelCause(m.ctx)
	for _, to := range all {
		one.followers = append(one.followers, m.follower(instance, to, log))
	}
	m.instances[instance.ID] = one
	if !m.saving {
		m.saving = true
		m.running.Go(m.keepSaving)
	}
	m.running.Go(func() {
		defer close(one.done)
		one.run(ctx, m.positions.load(instance.ID))
		one.end(nil)
		if m.ctx.Err() == nil {
			m.release(instance.ID, one)
		}
	})
	return one
}

func (m *Manager) follower(i supervisor.Instance, to target, log hclog.Logger) *follower {
	origin := syslog.Origin{
		Organization: i.LogDrains.Organization, Space: i.LogDrains.Space, App: i.LogDrains.App,
		AppID: i.AppID, OrganizationID: i.LogDrains.OrganizationID, SpaceID: i.LogDrains.SpaceID,
		Index: i.Index, InstanceID: i.ID, Node: m.options.Node,
	}
	return &follower{
		target: to,
		place: applog.Place{Open: func() (*os.Root, error) {
			return containerpath.OpenDir(i.ContainerPath, runspec.PathHome)
		}},
		words: origin.Writer(syslog.FromApp, to.address.Plain), own: origin.Writer(syslog.FromDrain, to.address.Plain),
		ended: make(chan time.Time, 1), dialer: m.dialer, maxAge: m.options.MaxAge, slots: m.slots, app: i.AppID,
		totals: &m.totals,
		log:    log.With("drain", to.address.String(), "service", to.service),
	}
}

// Finish sends the rest of what an instance has written, to which nobody writes any more and whose container is about to go.
// It takes finishTime at most, and ends before when ctx does. Where that is not enough, or a drain is away, the last lines come before
// what is left. An instance that was not followed yet, as one that crashed in its start, is. Run twice it does nothing more:
// where the drains have come is kept until Forget, or until the container is gone.
func (m *Manager) Finish(ctx context.Context, instance supervisor.Instance) {
	if m == nil || len(instance.LogDrains.Drains) == 0 {
		return
	}
	m.mu.Lock()
	one := m.instances[instance.ID]
	if one == nil && instance.ContainerPath != "" {
		one = m.begin(instance)
	}
	m.mu.Unlock()
	if one == nil {
		m.unkeep(instance.ID)
		return
	}
	m.await(ctx, one, true)
}

// FinishOrphan is Finish of an instance that nobody owns, of which only its id is known, and to which Forget is not called. It
// does nothing for one that is not followed.
func (m *Manager) FinishOrphan(ctx context.Context, id string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	one := m.instances[id]
	m.mu.Unlock()
	if one != nil {
		m.await(ctx, one, false)
	}
}

func (m *Manager) await(ctx context.Context, one *following, lasting bool) {
	one.finish(m.hurry, lasting)
	select {
	case <-one.done:
	case <-ctx.Done():
	}
}

// Forget is done with an instance whose container is gone, after Finish.
func (m *Manager) Forget(id string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	one := m.instances[id]
	m.mu.Unlock()
	if one != nil {
		one.last(false)
		return
	}
	m.unkeep(id)
}

// release ends the following of an instance. Who would follow it anew waits until its positions are as they are to be.
func (m *Manager) release(id string, one *following) {
	if err := one.close(m.positions, id); err != nil {
		m.log.Warn("the position of an instance's drains is not on disk as it should be", "instance", id, "error", err)
	}
	m.mu.Lock()
	delete(m.instances, id)
	m.mu.Unlock()
}

func (m *Manager) unkeep(id string) {
	if err := m.positions.remove(id); err != nil {
		m.log.Warn("the position of an instance's drains stays on disk", "instance", id, "error", err)
	}
}

// keepSaving saves each saveEvery until nobody is followed.
func (m *Manager) keepSaving() {
	for pause.For(m.ctx, saveEvery) {
		m.save()
		if m.endSaving() {
			return
		}
	}
}

func (m *Manager) endSaving() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saving = len(m.instances) > 0
	return !m.saving
}

// save keeps the positions that have changed.
func (m *Manager) save() {
	for id, one := range m.all() {
		if err := one.save(m.positions, id); err != nil {
			m.log.Warn("lines may be sent again to a syslog drain by the next worker", "instance", id, "error", err)
		}
	}
}

func (m *Manager) all() map[string]*following {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]*following, len(m.instances))
	for id, one := range m.instances {
		all[id] = one
	}
	return all
}

func (m *Manager) sweep() {
	known := map[string]bool{}
	for id := range m.all() {
		known[id] = true
	}
	gone, err := m.positions.sweep(known)
	for _, instance := range gone {
		m.log.Warn("an instance is gone of which nobody knows whether its syslog drains took its last lines", "instance", instance)
	}
	if err != nil {
		m.log.Warn("positions of drains that are gone stay on disk", "error", err)
	}
}

// Totals are counts since the manager was made, but for Drains and Waiting, which are now.
type Totals struct {
	// Drains are those of all instances, and Waiting those among them that are not sent to, as there are more than Options.Max.
	Drains, Waiting int64
	// Lines were taken by a drain. LostLines waited for too long, and LostBytes left the log before they could be sent.
	Lines, LostLines, LostBytes int64
}

type totals struct{ drains, waiting, lines, lostLines, lostBytes atomic.Int64 }

func (t *totals) add(c counts) {
	t.lines.Add(c.lines)
	t.lostLines.Add(c.lost.Lines)
	t.lostBytes.Add(c.lost.Bytes)
}

// Totals are what was sent and lost so far.
func (m *Manager) Totals() Totals {
	t := &m.totals
	return Totals{t.drains.Load(), t.waiting.Load(), t.lines.Load(), t.lostLines.Load(), t.lostBytes.Load()}
}
