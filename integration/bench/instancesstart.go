package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/benchmark"
)

const (
	// mostStart is what a start may take more than by hand, in milliseconds: placement, durability and the activities.
	mostStart = 150
	// largePart is how much of the time by hand the second instance of a large droplet may take: it is unpacked already.
	largePart = 3
	// mostTogether is for so many instances as are started at once, in seconds.
	mostTogether = 5
)

// appStart is a start of one app by the platform.
type appStart struct {
	app, instance string
	// begun is when Run was called, and running when it was seen that the app's workflow heard of the last of its instances
	// that it is RUNNING.
	begun, running time.Time
}

func (r appStart) took() time.Duration { return r.running.Sub(r.begun) }

// startApp takes an app from its description to RUNNING.
func (b *instancesBench) startApp(ctx context.Context, spec api.AppSpec) (appStart, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	run := appStart{app: spec.Message.AppID, begun: time.Now()}
	if _, err := b.Control.Run(ctx, spec); err != nil {
		return run, err
	}
	last, err := awaitRunning(ctx, listen(ctx, b, api.AppWorkflowID(run.app), api.SignalInstanceChanged), spec.Instances)
	run.running, run.instance = last.at, last.value.InstanceID
	return run, err
}

// inTurn starts apps of one instance, by hand and by the platform in turn, so that both see the same machine, and gives
// what is not a warm-up.
func (b *instancesBench) inTurn(ctx context.Context, of droplet, warmUps, count int) (hands []time.Duration, starts []appStart, err error) {
	for n := range warmUps + count {
		unix.Sync() // what was written before is nobody's to wait for
		hand, err := b.startByHand(ctx, of)
		if err != nil {
			return nil, nil, err
		}
		if err := hand.destroy(ctx); err != nil {
			return nil, nil, err
		}
		unix.Sync()
		run, err := b.startApp(ctx, b.app(of, 1))
		if err != nil {
			return nil, nil, err
		}
		if n >= warmUps {
			hands, starts = append(hands, hand.took), append(starts, run)
		}
		if err := b.remove(ctx, run.app); err != nil {
			return nil, nil, err
		}
	}
	return hands, starts, b.showStart(ctx, of, median(starts), count)
}

func tookEach(starts []appStart) []time.Duration {
	var took []time.Duration
	for _, run := range starts {
		took = append(took, run.took())
	}
	return took
}

// measureStart measures the start of an app whose droplet is on the node.
func (b *instancesBench) measureStart(ctx context.Context, small droplet) ([]benchmark.Row, error) {
	hands, starts, err := b.inTurn(ctx, small, b.warmUps, b.starts)
	if err != nil {
		return nil, err
	}
	hand := benchmark.Median(hands)
	return []benchmark.Row{b.row("start of an instance, 1 MB droplet", "ms", benchmark.Median(tookEach(starts)), hand,
		benchmark.AtMost(math.Round(hand)+mostStart))}, nil
}

// measureSecond measures the start of an instance while another one of its droplet runs.
func (b *instancesBench) measureSecond(ctx context.Context, large droplet) (_ []benchmark.Row, failed error) {
	first, err := b.startApp(ctx, b.app(large, 1))
	if err != nil {
		return nil, err
	}
	defer func() { failed = errors.Join(failed, b.remove(ctx, first.app)) }()
	hands, starts, err := b.inTurn(ctx, large, 0, b.largeStarts)
	if err != nil {
		return nil, err
	}
	hand := benchmark.Median(hands)
	return []benchmark.Row{b.row("start of a second instance, 200 MB droplet of 5,000 files", "ms",
		benchmark.Median(tookEach(starts)), hand, benchmark.AtMost(math.Round(hand/largePart)))}, nil
}

// measureTogether measures an app of many instances.
func (b *instancesBench) measureTogether(ctx context.Context, small droplet) ([]benchmark.Row, error) {
	var hands, ours []time.Duration
	for range b.togetherRuns {
		hand, err := b.togetherByHand(ctx, small)
		if err != nil {
			return nil, err
		}
		run, err := b.startApp(ctx, b.app(small, b.together))
		if err == nil {
			err = b.showTogether(ctx, run)
		}
		if err = errors.Join(err, b.remove(ctx, run.app)); err != nil {
			return nil, err
		}
		hands, ours = append(hands, hand), append(ours, run.took())
	}
	const milli = 1000
	return []benchmark.Row{b.row(fmt.Sprintf("%d instances from request to RUNNING", b.together), "s",
		benchmark.Median(ours)/milli, benchmark.Median(hands)/milli, benchmark.AtMost(mostTogether))}, nil
}

// togetherByHand makes as many by hand, all at once.
func (b *instancesBench) togetherByHand(ctx context.Context, of droplet) (took time.Duration, failed error) {
	made := make([]*byHand, b.together)
	defer func() {
		for _, h := range made {
			if h != nil {
				failed = errors.Join(failed, h.destroy(ctx))
			}
		}
	}()
	begun := time.Now()
	group, together := errgroup.WithContext(ctx)
	for n := range made {
		group.Go(func() error {
			var err error
			made[n], err = b.startByHand(together, of)
			return err
		})
	}
	err := group.Wait()
	return time.Since(begun), err
}
