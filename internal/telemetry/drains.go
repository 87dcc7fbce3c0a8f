package telemetry

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/metric"

	"github.com/durable-dea/dea/internal/drain"
)

// ObserveDrains shows what was sent to syslog drains, and what was lost on the way: totals is asked once each time that
// somebody reads the metrics.
func (t *Telemetry) ObserveDrains(totals func() drain.Totals) error {
	drains, err := t.meter().Int64ObservableGauge("dea.drains", metric.WithDescription("Syslog drains of all instances"))
	if err != nil {
		return fmt.Errorf("make the metric dea.drains: %w", err)
	}
	waiting, err := t.meter().Int64ObservableGauge("dea.drains.waiting",
		metric.WithDescription("Syslog drains that wait, as no more are sent to at once"))
	if err != nil {
		return fmt.Errorf("make the metric dea.drains.waiting: %w", err)
	}
	counted := []struct {
		name, unit, what string
		value            func(drain.Totals) int64
	}{
		{"dea.drains.lines", "", "Lines that syslog drains took", func(t drain.Totals) int64 { return t.Lines }},
		{"dea.drains.lost.lines", "", "Lines that waited too long for a syslog drain", func(t drain.Totals) int64 { return t.LostLines }},
		{"dea.drains.lost", "By", "What left its log before a syslog drain took it", func(t drain.Totals) int64 { return t.LostBytes }},
	}
	counters := make([]metric.Int64ObservableCounter, len(counted))
	all := []metric.Observable{drains, waiting}
	for i, c := range counted {
		counters[i], err = t.meter().Int64ObservableCounter(c.name, metric.WithUnit(c.unit), metric.WithDescription(c.what))
		if err != nil {
			return fmt.Errorf("make the metric %s: %w", c.name, err)
		}
		all = append(all, counters[i])
	}
	_, err = t.meter().RegisterCallback(func(_ context.Context, o metric.Observer) error {
		now := totals()
		o.ObserveInt64(drains, now.Drains)
		o.ObserveInt64(waiting, now.Waiting)
		for i, c := range counted {
			o.ObserveInt64(counters[i], c.value(now))
		}
		return nil
	}, all...)
	if err != nil {
		return fmt.Errorf("show the metrics of drains: %w", err)
	}
	return nil
}
