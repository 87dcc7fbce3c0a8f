package telemetry

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/durable-dea/dea/api"
)

// nodeGauges and instanceGauges are what is shown of a node and of each instance on it. Bytes unless they say otherwise.
type (
	nodeGauge struct {
		name, unit, what string
		value            func(api.NodeStats) float64
	}
	instanceGauge struct {
		name, unit, what string
		value            func(api.InstanceStats) float64
	}
)

func nodeGauges() []nodeGauge {
	return []nodeGauge{
		{"dea.node.load", "", "Load average over one minute", func(n api.NodeStats) float64 { return n.Load }},
		{"dea.node.cores", "", "Processors", func(n api.NodeStats) float64 { return float64(n.Cores) }},
		{"dea.node.memory.used", "By", "Memory in use", func(n api.NodeStats) float64 { return float64(n.MemoryUsedBytes) }},
		{"dea.node.memory.free", "By", "Memory that can be given out", func(n api.NodeStats) float64 { return float64(n.MemoryFreeBytes) }},
		{"dea.node.disk.used", "By", "Use of base_dir's file system", func(n api.NodeStats) float64 { return float64(n.DiskUsedBytes) }},
		{"dea.node.disk.free", "By", "Room in base_dir's file system", func(n api.NodeStats) float64 { return float64(n.DiskFreeBytes) }},
		{"dea.node.instances", "", "Instances that are measured", func(n api.NodeStats) float64 { return float64(len(n.Instances)) }},
	}
}

func instanceGauges() []instanceGauge {
	return []instanceGauge{
		{"dea.instance.cpu", "", "Part of one core that is used", func(i api.InstanceStats) float64 { return i.CPU }},
		{"dea.instance.cpu.time", "s", "Processor time since the start", func(i api.InstanceStats) float64 { return i.CPUTime.Seconds() }},
		{"dea.instance.memory", "By", "Memory in use", func(i api.InstanceStats) float64 { return float64(i.MemoryBytes) }},
		{"dea.instance.memory.limit", "By", "Memory that may be used", func(i api.InstanceStats) float64 { return float64(i.MemoryLimitBytes) }},
		{"dea.instance.disk", "By", "Disk in use", func(i api.InstanceStats) float64 { return float64(i.DiskBytes) }},
		{"dea.instance.disk.limit", "By", "Disk that may be used", func(i api.InstanceStats) float64 { return float64(i.DiskLimitBytes) }},
	}
}

// Observe shows what a node and its instances use: stats is asked once each time that somebody reads the metrics.
func (t *Telemetry) Observe(stats func() api.NodeStats) error {
	ofNode, ofInstances := nodeGauges(), instanceGauges()
	var all []metric.Observable
	gauge := func(name, unit, what string) (metric.Float64ObservableGauge, error) {
		g, err := t.meter().Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(what))
		if err != nil {
			return nil, fmt.Errorf("make the metric %s: %w", name, err)
		}
		all = append(all, g)
		return g, nil
	}
	nodes := make([]metric.Float64ObservableGauge, len(ofNode))
	for i, g := range ofNode {
		var err error
		if nodes[i], err = gauge(g.name, g.unit, g.what); err != nil {
			return err
		}
	}
	instances := make([]metric.Float64ObservableGauge, len(ofInstances))
	for i, g := range ofInstances {
		var err error
		if instances[i], err = gauge(g.name, g.unit, g.what); err != nil {
			return err
		}
	}
	_, err := t.meter().RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := stats()
		node := metric.WithAttributes(attribute.String("node", now.Node))
		for i, g := range ofNode {
			o.ObserveFloat64(nodes[i], g.value(now), node)
		}
		for _, one := range now.Instances {
			of := metric.WithAttributes(attribute.String("node", now.Node), attribute.String("app", one.AppID),
				attribute.Int("index", one.Index), attribute.String("instance_id", one.InstanceID))
			for i, g := range ofInstances {
				o.ObserveFloat64(instances[i], g.value(one), of)
			}
		}
		return nil
	}, all...)
	if err != nil {
		return fmt.Errorf("show the node's metrics: %w", err)
	}
	return nil
}
