package crowd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// Crowd is apps on one node.
type Crowd struct {
	Stack   *stack.Stack
	Node    *stack.Own
	Droplet *Droplet
}

// Start starts a devserver with one node of the test's own, which ends with the test, and waits until the node takes work.
func Start(t *testing.T, options stack.Options, node stack.OwnOptions) *Crowd {
	t.Helper()
	options.Nodes = -1
	s, err := stack.Start(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Warnings())
		}
		assert.NoError(t, s.Stop())
	})
	own, err := s.StartOwn(t.Context(), node)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), settleTime)
	defer cancel()
	require.NoError(t, own.Ready(ctx))
	return &Crowd{Stack: s, Node: own, Droplet: NewDroplet(t, "a crowd")}
}

// settleTime is how long a node may take to come to rest after the last death: a killed worker's activities are noticed
// after a heartbeat timeout, its workflows after seconds.
const settleTime = 2 * time.Minute

// Want says how many instances an app is to have. Temporal may be busy with deaths just then: it is said until it is taken.
func (c *Crowd) Want(ctx context.Context, app, version string, instances int) error {
	return until(ctx, func() error {
		_, err := c.Stack.Control.Run(ctx, api.AppSpec{
			Message: c.Droplet.Message(app, version, stack.OwnStackOf(c.Node.Number)), Instances: instances,
		})
		return err
	})
}

// Settles waits until what there is is what is wanted, by app: so many instances RUNNING and answering, each at an address
// of its own, a ledger that is their sum, and their containers and no others in the depot.
func (c *Crowd) Settles(t *testing.T, wanted map[string]int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleTime)
	defer cancel()
	err := until(ctx, func() error { return c.settled(ctx, wanted) })
	require.NoError(t, err, "%s", c.Node.Tail())
}

func (c *Crowd) settled(ctx context.Context, wanted map[string]int) error {
	var ids []string
	addresses := map[string]string{}
	for app, count := range wanted {
		status, err := c.Stack.Control.App(ctx, app)
		if err != nil {
			return fmt.Errorf("app %s: %w", app, err)
		}
		if status.Running != count || len(status.Instances) != count {
			return fmt.Errorf("app %s is to have %d instances, and has %+v", app, count, status.Instances)
		}
		for _, instance := range status.Instances {
			if other := addresses[instance.Address]; other != "" {
				return fmt.Errorf("%s and %s are both at %s", other, instance.InstanceID, instance.Address)
			}
			addresses[instance.Address] = instance.InstanceID
			ids = append(ids, instance.InstanceID)
		}
	}
	return errors.Join(c.booked(ctx, ids), c.contained(ids), c.answering(ctx, addresses))
}

// booked fails unless the ledger is the sum of the instances.
func (c *Crowd) booked(ctx context.Context, ids []string) error {
	node, err := c.Stack.Control.Node(ctx, c.Node.ID)
	if err != nil {
		return err
	}
	var held []string
	for _, r := range node.Reservations {
		held = append(held, r.ID)
	}
	if err := same("the ledger", held, ids); err != nil {
		return err
	}
	sum := api.Resources{MemoryMB: int64(len(ids)) * MemoryMB, DiskMB: int64(len(ids)) * DiskMB}
	if node.Reserved != sum {
		return fmt.Errorf("%+v is reserved, and %+v should be", node.Reserved, sum)
	}
	return nil
}

// contained fails unless the depot has the containers of the instances and no others.
func (c *Crowd) contained(ids []string) error {
	found, err := filepath.Glob(c.Node.Container("*"))
	if err != nil {
		return err
	}
	var handles []string
	for _, path := range found {
		handles = append(handles, filepath.Base(path))
	}
	return same("the depot", handles, ids)
}

func same(what string, have, want []string) error {
	slices.Sort(have)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(have, want) {
		return fmt.Errorf("%s has %v, and should have %v", what, have, want)
	}
	return nil
}

func (c *Crowd) answering(ctx context.Context, addresses map[string]string) error {
	for address, id := range addresses {
		if code, _, err := stack.Get(ctx, "http://"+address); err != nil || code != 200 {
			return fmt.Errorf("instance %s does not serve: %d, %w", id, code, err)
		}
	}
	return nil
}

// death is one way to kill what instances run on, and to start it again.
type death struct {
	name   string
	strike func(*stack.Own) error
	mend   func(context.Context, *stack.Own) error
}

func deaths() []death {
	worker := death{"worker", (*stack.Own).KillWorker, func(ctx context.Context, o *stack.Own) error { return o.StartWorker(ctx) }}
	wardend := death{"wardend", (*stack.Own).KillWardend, func(ctx context.Context, o *stack.Own) error { return o.StartWardend(ctx) }}
	both := death{
		"both", func(o *stack.Own) error { return errors.Join(o.KillWorker(), o.KillWardend()) },
		func(ctx context.Context, o *stack.Own) error {
			return errors.Join(o.StartWardend(ctx), o.StartWorker(ctx))
		},
	}
	return []death{worker, wardend, both}
}

// Deaths kills worker, wardend or both with -9, so many times at random moments, while instances of three apps start and
// stop; then it says what is wanted in the end, and checks that this is what there is.
func (c *Crowd) Deaths(t *testing.T, times int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	apps := []string{"crowd-a", "crowd-b", "crowd-c"}
	steady := c.steady(t)
	over := make(chan struct{})
	stirred := make(chan error, 1)
	go func() { stirred <- c.stir(ctx, apps, over) }()
	for n := range times {
		time.Sleep(time.Duration(rand.IntN(800)) * time.Millisecond) //nolint:gosec // a moment of no importance
		deadly := deaths()[rand.IntN(len(deaths()))]                 //nolint:gosec // likewise
		require.NoError(t, deadly.strike(c.Node), "death %d of %s", n, deadly.name)
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond) //nolint:gosec // likewise
		require.NoError(t, deadly.mend(ctx, c.Node), "death %d of %s", n, deadly.name)
	}
	close(over)
	require.NoError(t, <-stirred)
	wanted := map[string]int{steadyApp: len(steady)}
	for n, app := range apps {
		wanted[app] = n + 2
		require.NoError(t, c.Want(ctx, app, "final", n+2))
	}
	c.Settles(t, wanted)
	require.Equal(t, steady, c.ids(t, steadyApp), "no death of those costs an instance")
	for _, app := range append(apps, steadyApp) {
		require.NoError(t, until(ctx, func() error {
			_, err := c.Stack.Control.Delete(ctx, app, "the test is over")
			return err
		}))
	}
	c.Settles(t, nil)
}

// steadyApp is one that nobody changes while others die.
const steadyApp = "crowd-steady"

// steady starts the app, and gives its instances.
func (c *Crowd) steady(t *testing.T) []string {
	t.Helper()
	require.NoError(t, c.Want(t.Context(), steadyApp, "v1", 2))
	c.Settles(t, map[string]int{steadyApp: 2})
	return c.ids(t, steadyApp)
}

func (c *Crowd) ids(t *testing.T, app string) []string {
	t.Helper()
	status, err := c.Stack.Control.App(t.Context(), app)
	require.NoError(t, err)
	var ids []string
	for _, instance := range status.Instances {
		ids = append(ids, instance.InstanceID)
	}
	return ids
}

// stir has apps start and stop instances, of one version and another, until it is over.
func (c *Crowd) stir(ctx context.Context, apps []string, over <-chan struct{}) error {
	for n := 0; ; n++ {
		select {
		case <-over:
			return nil
		case <-time.After(time.Duration(rand.IntN(500)) * time.Millisecond): //nolint:gosec // a moment of no importance
		}
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		err := c.Want(limited, apps[n%len(apps)], fmt.Sprintf("v%d", n/9), rand.IntN(5)) //nolint:gosec // likewise
		cancel()
		if err != nil {
			return err
		}
	}
}

// until waits until do gives no error, and fails with the last one when ctx ends before.
func until(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
