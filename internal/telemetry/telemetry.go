// Package telemetry shows a worker's metrics to Prometheus: what its node and instances use, and what Temporal's SDK
// counts of its own work. They are made by OpenTelemetry, read when they are asked for, and kept nowhere.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
)

// scope is the name under which our own metrics stand.
const scope = "github.com/durable-dea/dea"

// Telemetry is the metrics of one worker.
type Telemetry struct {
	registry *prometheus.Registry
	provider *sdkmetric.MeterProvider
	log      hclog.Logger
	server   *http.Server
}

// New makes the metrics of a node's worker, which nobody can read before Serve. The caller closes it.
func New(node string, log hclog.Logger) (*Telemetry, error) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("make the metrics: %w", err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithView(seconds()), sdkmetric.WithResource(resource.NewSchemaless(
		attribute.String("service.name", "dea-worker"), attribute.String("service.instance.id", node),
	)))
	return &Telemetry{registry: registry, provider: provider, log: log.Named("telemetry")}, nil
}

// seconds gives every histogram, all of which are of times in seconds, bounds from a millisecond to a minute;
// OpenTelemetry's own are for milliseconds.
func seconds() sdkmetric.View {
	return sdkmetric.NewView(sdkmetric.Instrument{Name: "*", Kind: sdkmetric.InstrumentKindHistogram}, sdkmetric.Stream{
		Aggregation: sdkmetric.AggregationExplicitBucketHistogram{
			Boundaries: []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60},
		},
	})
}

// Temporal is where Temporal's SDK counts: client.Options.MetricsHandler. What it cannot count is logged.
func (t *Telemetry) Temporal() client.MetricsHandler {
	return opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{
		Meter:   t.provider.Meter("go.temporal.io/sdk"),
		OnError: func(err error) { t.log.Warn("a metric of Temporal's is lost", "error", err) },
	})
}

// meter is where our own metrics are made.
func (t *Telemetry) meter() metric.Meter { return t.provider.Meter(scope) }

// Serve answers GET /metrics at a host:port until Close, and returns the address that it has.
func (t *Telemetry) Serve(listen string) (address string, err error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return "", fmt.Errorf("telemetry.metrics_listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	t.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := t.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.log.Error("the metrics' server ended", "error", err)
		}
	}()
	return listener.Addr().String(), nil
}

// Close ends the server and the metrics.
func (t *Telemetry) Close() {
	if t.server != nil {
		_ = t.server.Close()
	}
	_ = t.provider.Shutdown(context.Background())
}
