package agent

import (
	"context"
	"sync"

	"go.temporal.io/sdk/client"

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
	a.meter = stats.New(stats.Deps{
		Node: a.id, BaseDir: a.node.BaseDir, Warden: a.warden, Targets: a.measured,
		Came: a.supervisor.Came(), Log: a.log,
	})
	if listen := a.node.Telemetry.MetricsListen; listen != "" {
		if err := a.telemetry.Observe(a.meter.Node); err != nil {
			return nil, err
		}
		if err := a.telemetry.ObserveDrains(a.drains.Totals); err != nil {
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

// measured are the instances that the supervisor looks after.
func (a *agent) measured() []stats.Target {
	instances := a.supervisor.Instances()
	targets := make([]stats.Target, 0, len(instances))
	for _, i := range instances {
		targets = append(targets, stats.Target{InstanceID: i.ID, AppID: i.AppID, Index: i.Index, Limits: i.Limits})
	}
	return targets
}
