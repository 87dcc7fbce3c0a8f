package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/load"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/benchmark"
	"github.com/durable-dea/dea/internal/pause"
)

const (
	// routedRate is requests a second. Client, router and app share the machine.
	routedRate = 2000
	// fewRouted and manyRouted are the instances that the app is scaled down and up to.
	fewRouted, manyRouted = 2, 4
)

// routeSizes are how long requests are sent: to fill caches, and to be measured; and how often instances come and go.
type routeSizes struct {
	warmUp, steady time.Duration
	churns         int
}

func routeSizesOf(quick bool) routeSizes {
	if quick {
		return routeSizes{warmUp: 2 * time.Second, steady: 5 * time.Second, churns: 1}
	}
	return routeSizes{warmUp: 10 * time.Second, steady: 30 * time.Second, churns: 3}
}

// measureRoutes measures requests to examples/hello: straight to its instances, by the router, and by the router while
// instances come and go.
func measureRoutes(ctx context.Context, s *stack.Stack, sizes routeSizes) (rows []benchmark.Row, failed error) {
	app, err := runRouted(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("run the app that is asked: %w", err)
	}
	defer func() { failed = errors.Join(failed, remove(ctx, s.Control)) }()
	straight := load.Options{Host: app.Message.URIs[0], Rate: routedRate}
	status, err := load.Settled(ctx, s.Control, app)
	if err != nil {
		return nil, err
	}
	for _, instance := range status.Instances {
		straight.Addresses = append(straight.Addresses, instance.Address)
	}
	router, err := url.Parse(s.Router)
	if err != nil {
		return nil, fmt.Errorf("read the router's address: %w", err)
	}
	routed := straight
	routed.Addresses = []string{"127.0.0.1:" + router.Port()}

	wait := func(long time.Duration) func() error {
		return func() error {
			pause.For(ctx, long)
			return context.Cause(ctx)
		}
	}
	for _, way := range []load.Options{straight, routed} {
		if _, err := during(ctx, way, wait(sizes.warmUp)); err != nil {
			return nil, err
		}
	}
	floor, err := during(ctx, straight, wait(sizes.steady))
	if err != nil {
		return nil, err
	}
	steady, err := during(ctx, routed, wait(sizes.steady))
	if err != nil {
		return nil, err
	}
	churned, err := during(ctx, routed, func() error {
		for range sizes.churns {
			if err := load.Churn(ctx, s.Control, app, fewRouted, manyRouted); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, one := range []load.Result{floor, steady, churned} {
		if err := one.Err(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	rows = append(routeRows("request by the router", steady, floor), routeRows("request while instances come and go", churned, floor)...)
	return rows, nil
}

// routeRows are what a person wants to know of a load.
func routeRows(name string, of, floor load.Result) []benchmark.Row {
	rows := []benchmark.Row{benchmark.Make(name+": failed", fmt.Sprintf("of %d", of.Sent), float64(of.Failed), float64(floor.Failed),
		benchmark.AtMost(0))}
	for _, percentile := range []float64{50, 95, 99} {
		rows = append(rows, benchmark.Make(fmt.Sprintf("%s: %v of 100", name, percentile), "ms",
			inMillis(of.Percentile(percentile)), inMillis(floor.Percentile(percentile)), benchmark.NoBar()))
	}
	return rows
}

func inMillis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// during sends requests while something is done.
func during(ctx context.Context, o load.Options, do func() error) (load.Result, error) {
	requests := load.Start(ctx, o)
	err := do()
	return requests.Stop(), err
}

// runRouted stages examples/hello and runs it.
func runRouted(ctx context.Context, s *stack.Stack) (api.AppSpec, error) {
	content, err := helloZip()
	if err != nil {
		return api.AppSpec{}, err
	}
	spec, err := staged(ctx, s, content)
	if err != nil {
		return api.AppSpec{}, err
	}
	spec.Instances = fewRouted
	_, err = s.Control.Run(ctx, spec)
	return spec, err
}
