package agent

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/stats"
)

// countTemporal has Temporal's SDK count where somebody may read it.
func (a *agent) countTemporal(o *client.Options) {
	if a.node.Telemetry.MetricsListen != "" {
		o.MetricsHandler = a.telemetry.Temporal()
	}
}

// measure begins to measure the node, and to show it if that is configured. stop waits for the end of it.
func (a *agent) measure(ctx context.Context) (stop func(), err error) {
	instances := &booked{agent: a}
	a.meter = stats.New(stats.Deps{
		Node: a.id, BaseDir: a.node.BaseDir, Warden: a.warden, Targets: instances.targets, Log: a.log,
	})
	if listen := a.node.Telemetry.MetricsListen; listen != "" {
		if err := a.telemetry.Observe(a.meter.Node); err != nil {
			return nil, err
		}
		address, err := a.telemetry.Serve(listen)
		if err != nil {
			return nil, err
		}
		a.log.Info("metrics can be read", "address", address)
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { a.meter.Run(ctx) })
	return func() { cancel(); running.Wait() }, nil
}

// ledgerTimeout bounds a question to the node's ledger: who is measured does not wait longer for a name.
const ledgerTimeout = 3 * time.Second

// booked knows whose instances the watched ones are, by the node's ledger. Only one that is new is asked about, so that
// a node at rest costs Temporal nothing. Its one caller is the meter.
type booked struct {
	agent *agent
	known map[string]stats.Target
}

// targets are the watched instances. One that the ledger cannot be asked about is measured without its app's name.
func (b *booked) targets(ctx context.Context) []stats.Target {
	ids := b.agent.supervisor.WatchedIDs()
	for _, id := range ids {
		if _, ok := b.known[id]; !ok {
			b.ask(ctx)
			break
		}
	}
	known := make(map[string]stats.Target, len(ids))
	targets := make([]stats.Target, 0, len(ids))
	for _, id := range ids {
		target, ok := b.known[id]
		if ok {
			known[id] = target
		}
		target.InstanceID = id
		targets = append(targets, target)
	}
	b.known = known
	return targets
}

func (b *booked) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	ledger, err := api.QueryNode.Ask(ctx, b.agent.temporal, api.NodeWorkflowID(b.agent.id))
	if err != nil {
		b.agent.log.Debug("the ledger cannot be asked whose instances are measured", "error", err)
		return
	}
	if b.known == nil {
		b.known = map[string]stats.Target{}
	}
	for _, r := range ledger.Reservations {
		if r.Kind == api.KindInstance {
			b.known[r.ID] = stats.Target{
				InstanceID: r.ID, AppID: r.AppID, Index: r.Index,
				Limits: api.Limits{MemoryMB: r.Resources.MemoryMB, DiskMB: r.Resources.DiskMB},
			}
		}
	}
}
