package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/benchmark"
)

const (
	// killsEach is how often an instance that crashes is started again at once.
	killsEach = 3
	// mostNotice and mostReplace are for an end to be known and for its replacement to answer, in milliseconds.
	mostNotice  = 50
	mostReplace = 250
)

// death is what followed when a process was killed.
type death struct {
	app, next string
	// noticed is when whoever looks after the instance knows, replaced when another one, next, answers.
	killed, noticed, replaced time.Time
}

func (d death) took() time.Duration { return d.replaced.Sub(d.killed) }

// medians are until a death was noticed, and until there was another instance, in milliseconds.
func medians(deaths []death) (noticed, replaced float64) {
	var to, until []time.Duration
	for _, d := range deaths {
		to, until = append(to, d.noticed.Sub(d.killed)), append(until, d.took())
	}
	return benchmark.Median(to), benchmark.Median(until)
}

// measureKills kills apps' processes.
//
//	platform: until the instance's workflow was told of the exit; until an instance that the app's workflow heard of answers
//	by hand:  until Warden's Link returns; until the next one, made by hand, answers
func (b *instancesBench) measureKills(ctx context.Context, small droplet) ([]benchmark.Row, error) {
	var hands, ours []death
	for range b.kills {
		for range killsEach {
			hand, err := b.killByHand(ctx, small)
			if err != nil {
				return nil, err
			}
			hands = append(hands, hand)
		}
		killed, err := b.killApp(ctx, b.app(small, 1))
		if err != nil {
			return nil, err
		}
		ours = append(ours, killed...)
	}
	one := median(ours)
	fmt.Fprintf(os.Stderr, "\na killed instance and its replacement (%s): %s ms, the median of %d\n", b.backend, millis(one.took()), len(ours))
	if err := b.showWay(ctx, one.killed, one.replaced, one.app, one.next); err != nil {
		return nil, err
	}
	handNoticed, handReplaced := medians(hands)
	noticed, replaced := medians(ours)
	return []benchmark.Row{
		b.row("exit of an instance noticed", "ms", noticed, handNoticed, benchmark.AtMost(mostNotice)),
		b.row("killed instance replaced", "ms", replaced, handReplaced, benchmark.AtMost(mostReplace)),
	}, nil
}

// killApp kills an app as often as it is started again at once.
func (b *instancesBench) killApp(ctx context.Context, spec api.AppSpec) (deaths []death, failed error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	app := spec.Message.AppID
	if _, err := b.Control.Run(ctx, spec); err != nil {
		return nil, err
	}
	defer func() { failed = errors.Join(failed, b.remove(ctx, app)) }()
	changes := listen(ctx, b, api.AppWorkflowID(app), api.SignalInstanceChanged)
	running, err := awaitRunning(ctx, changes, 1)
	if err != nil {
		return nil, err
	}
	instance := running.value.InstanceID
	for range killsEach {
		one, err := b.killInstance(ctx, app, instance, changes)
		if err != nil {
			return nil, err
		}
		deaths, instance = append(deaths, one), one.next
	}
	return deaths, nil
}

func (b *instancesBench) killInstance(
	ctx context.Context, app, instance string, changes <-chan news[api.InstanceStatus],
) (d death, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	exits := listen(ctx, b, api.InstanceWorkflowID(instance), api.SignalInstanceExited)
	d.app = app
	if d.killed, err = kill(app); err != nil {
		return d, err
	}
	exit, err := hear(ctx, exits)
	if err != nil {
		return d, err
	}
	crashed, err := hear(ctx, changes)
	if err != nil {
		return d, err
	}
	if crashed.value.State != api.StateCrashed || crashed.value.InstanceID != instance {
		return d, fmt.Errorf("instance %s was killed, and heard is %+v", instance, crashed.value)
	}
	running, err := awaitRunning(ctx, changes, 1)
	if err != nil {
		return d, err
	}
	d.noticed, d.next = exit.at, running.value.InstanceID
	d.replaced, err = awaitAnswer(ctx, running.value.Address)
	return d, err
}

func (b *instancesBench) killByHand(ctx context.Context, of droplet) (d death, failed error) {
	h, err := b.startByHand(ctx, of)
	if err != nil {
		return d, err
	}
	defer func() { failed = errors.Join(failed, h.destroy(ctx)) }()
	ended := make(chan error, 1)
	go func() { ended <- h.awaitExit(ctx) }()
	if d.killed, err = kill(h.name); err != nil {
		return d, err
	}
	if err := <-ended; err != nil {
		return d, err
	}
	d.noticed = time.Now()
	next, err := b.startByHand(ctx, of)
	if err != nil {
		return d, err
	}
	d.replaced, err = awaitAnswer(ctx, next.address)
	return d, errors.Join(err, next.destroy(ctx))
}

// kill ends the process of an app with this name, and tells when.
func kill(name string) (time.Time, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return time.Time{}, err
	}
	want := []byte("./serve\x00" + name + "\x00")
	for _, line := range lines {
		content, err := os.ReadFile(line) //nolint:gosec // of /proc
		if err != nil || !bytes.Equal(content, want) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line)))
		if err != nil {
			return time.Time{}, err
		}
		at := time.Now()
		return at, syscall.Kill(pid, syscall.SIGKILL)
	}
	return time.Time{}, fmt.Errorf("no process serves for %s", name)
}
