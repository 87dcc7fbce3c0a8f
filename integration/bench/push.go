package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/benchmark"
)

const (
	pushedApp = "bench-hello"
	// pushes is how often the push with a warm cache is measured. One with a cold cache takes half a minute of both
	// cores, nearly all of it the compiler's, and is measured once.
	pushes = 5
	// look is between two looks at an app that starts; RUNNING is then dated by the workflow, not by the look.
	look = 20 * time.Millisecond
)

// measurePush measures a push of examples/hello, and the same by hand, with a cold and with a warm build cache.
func measurePush(ctx context.Context, s *stack.Stack) ([]benchmark.Row, error) {
	content, err := helloZip()
	if err != nil {
		return nil, err
	}
	byHand, err := newHand(content)
	if err != nil {
		return nil, err
	}
	defer byHand.close()
	coldPush, warmPush, err := coldAndWarm(func() (time.Duration, error) { return push(ctx, s, content) })
	if err != nil {
		return nil, fmt.Errorf("push: %w", err)
	}
	coldHand, warmHand, err := coldAndWarm(func() (time.Duration, error) { return byHand.push(ctx) })
	if err != nil {
		return nil, fmt.Errorf("push by hand: %w", err)
	}
	return []benchmark.Row{
		benchmark.Make("push of hello, cold build cache", "ms", coldPush, coldHand, benchmark.NoBar()),
		benchmark.Make("push of hello, warm build cache", "ms", warmPush, warmHand, benchmark.NoBar()),
	}, nil
}

// coldAndWarm times something once, which fills its caches, and then often.
func coldAndWarm(do func() (time.Duration, error)) (cold, warm float64, err error) {
	first, err := do()
	if err != nil {
		return 0, 0, err
	}
	var took []time.Duration
	for range pushes {
		one, err := do()
		if err != nil {
			return 0, 0, err
		}
		took = append(took, one)
	}
	return benchmark.Median([]time.Duration{first}), benchmark.Median(took), nil
}

// push takes a zip from hand to RUNNING as a controller's program would, and then takes the app away; its build cache
// stays at the cloud controller.
func push(ctx context.Context, s *stack.Stack, content []byte) (took time.Duration, failed error) {
	begun := time.Now()
	spec, err := staged(ctx, s, content)
	if err != nil {
		return 0, err
	}
	if _, err := s.Control.Run(ctx, spec); err != nil {
		return 0, err
	}
	defer func() { failed = errors.Join(failed, remove(ctx, s.Control)) }()
	since, err := runningSince(ctx, s.Control)
	return since.Sub(begun), err
}

// runOne runs one instance of a zip as the one app that is pushed, with what else is wanted of it, until end.
func runOne(ctx context.Context, s *stack.Stack, content []byte, want func(*api.AppSpec)) (_ api.InstanceStatus, end func() error, _ error) {
	spec, err := staged(ctx, s, content)
	if err != nil {
		return api.InstanceStatus{}, nil, fmt.Errorf("stage the app: %w", err)
	}
	want(&spec)
	if _, err := s.Control.Run(ctx, spec); err != nil {
		return api.InstanceStatus{}, nil, err
	}
	end = func() error { return remove(ctx, s.Control) }
	if _, err := runningSince(ctx, s.Control); err != nil {
		return api.InstanceStatus{}, nil, errors.Join(err, end())
	}
	app, err := s.Control.App(ctx, pushedApp)
	if err != nil {
		return api.InstanceStatus{}, nil, errors.Join(err, end())
	}
	return app.Instances[0], end, nil
}

// staged uploads and stages a zip as the one app that is pushed, and says how to run it.
func staged(ctx context.Context, s *stack.Stack, content []byte) (api.AppSpec, error) {
	if err := s.Upload(ctx, pushedApp, content); err != nil {
		return api.AppSpec{}, err
	}
	request, err := s.StagingRequest(ctx, pushedApp)
	if err != nil {
		return api.AppSpec{}, err
	}
	staging, err := s.Control.Stage(ctx, request)
	if err != nil {
		return api.AppSpec{}, err
	}
	result, err := staging.Wait(ctx)
	if err != nil {
		return api.AppSpec{}, err
	}
	return s.AppSpec(ctx, pushedApp, result.DropletSHA1)
}

// runningSince waits until the app runs and gives when it began to.
func runningSince(ctx context.Context, c *controller.Client) (time.Time, error) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		app, err := c.App(ctx, pushedApp)
		if err != nil {
			return time.Time{}, err
		}
		for _, instance := range app.Instances {
			switch {
			case instance.State == api.StateRunning:
				return instance.Since, nil
			case instance.State.Ended():
				return time.Time{}, fmt.Errorf("the app does not run: %s", app.Problem)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

func remove(ctx context.Context, c *controller.Client) error {
	if _, err := c.Delete(ctx, pushedApp, "measured"); err != nil {
		return err
	}
	return c.AwaitGone(ctx, pushedApp)
}

// helloZip is examples/hello as a zip.
func helloZip() ([]byte, error) {
	dir, err := stack.Example("hello")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	writer := zip.NewWriter(&out)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w, err := writer.Create(filepath.ToSlash(name))
		if err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err = errors.Join(err, writer.Close()); err != nil {
		return nil, fmt.Errorf("zip examples/hello: %w", err)
	}
	return out.Bytes(), nil
}
