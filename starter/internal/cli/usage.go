package cli

import (
	"context"
	"sync"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/render"
)

// usageTimeout is how long a list waits for what is used: it is shown without.
const usageTimeout = 2 * time.Second

// appUsage adds what the instances use, as far as that can be had soon.
func appUsage(ctx context.Context, c *controller.Client, app api.AppStatus) render.AppUsage {
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	stats, _ := c.StatsOfInstances(ctx, app.Instances) // those that are missing are shown without
	return render.AppUsage{AppStatus: app, Stats: stats}
}

// nodesUsage lists the nodes with what they use, as far as that can be had soon.
func nodesUsage(c *controller.Client, ctx context.Context) ([]render.NodeUsage, error) { //nolint:revive // a lister
	nodes, err := c.Nodes(ctx)
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	all := make([]render.NodeUsage, len(nodes))
	var asking sync.WaitGroup
	for i, node := range nodes {
		all[i].NodeStatus = node
		if node.State == api.NodeStateLost {
			continue
		}
		asking.Go(func() {
			if stats, err := c.StatsOf(ctx, node); err == nil {
				all[i].Stats = &stats
			}
		})
	}
	asking.Wait()
	return all, err
}
