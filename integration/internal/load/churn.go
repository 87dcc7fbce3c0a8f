package load

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/pause"
)

const (
	// look is between two looks at an app.
	look = 100 * time.Millisecond
	// stepTimeout is how long a step may take on a machine that is busy with more than this.
	stepTimeout = 2 * time.Minute
)

// Churn is what happens to an app while it is asked: it is scaled up to so many instances and down to so few, runs
// again as a new version, index by index, and is scaled up and down once more. Each step is over when only those
// instances are there that should be.
func Churn(ctx context.Context, c *controller.Client, spec api.AppSpec, few, many int) error {
	next := spec
	next.Instances, next.Message.Version = many, uuid.NewString()
	for _, step := range []struct {
		what string
		app  api.AppSpec
	}{
		{"scale up", sized(spec, many)},
		{"scale down", sized(spec, few)},
		{"scale up again", sized(spec, many)},
		{"restart one after the other", next},
		{"scale down again", sized(next, few)},
	} {
		if err := become(ctx, c, step.app); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// become says what an app is to be, and waits until it is. The load may leave little of the machine: it is said until it is
// taken.
func become(ctx context.Context, c *controller.Client, spec api.AppSpec) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	for {
		_, err := c.Run(ctx, spec)
		if err == nil {
			break
		}
		if !pause.For(ctx, look) {
			return err
		}
	}
	_, err := Settled(ctx, c, spec)
	return err
}

func sized(spec api.AppSpec, instances int) api.AppSpec {
	spec.Instances = instances
	return spec
}

// Settled waits until an app is as it should be, and gives it.
func Settled(ctx context.Context, c *controller.Client, spec api.AppSpec) (api.AppStatus, error) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		app, err := c.App(ctx, spec.Message.AppID)
		if err == nil {
			if err = isAs(app, spec); err == nil {
				return app, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return api.AppStatus{}, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func isAs(app api.AppStatus, spec api.AppSpec) error {
	right := len(app.Instances) == spec.Instances
	for _, instance := range app.Instances {
		right = right && instance.State == api.StateRunning && instance.Version == spec.Message.Version
	}
	if !right {
		return fmt.Errorf("the app is to have %d instances of version %s, and has %+v", spec.Instances, spec.Message.Version, app.Instances)
	}
	return nil
}
