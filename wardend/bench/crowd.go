package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/internal/benchmark"
	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/proctree"
)

const (
	// atOnce is how many creates run at the same time.
	atOnce = 4
	// rest is how long many idle containers are watched.
	rest = 20 * time.Second
)

// rates are how many creates a second there are, and how many bare ones.
func (s *server) rates(ctx context.Context) (rate, floor float64, err error) {
	var mu sync.Mutex
	var handles []string
	took, err := s.rush(ctx, func(ctx context.Context, _ int) error {
		h, err := s.create(ctx)
		mu.Lock()
		defer mu.Unlock()
		handles = append(handles, h)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	for _, h := range handles {
		if _, err := s.client.Destroy(ctx, &wardenpb.DestroyRequest{Handle: &h}); err != nil {
			return 0, 0, err
		}
	}
	// Deleting is part of the time of the bare ones' rush, and is taken off it again.
	var deleting time.Duration
	bare, err := s.rush(ctx, func(ctx context.Context, i int) error {
		_, remove, err := s.bare(ctx, fmt.Sprintf("bare%d", i))
		mu.Lock()
		defer mu.Unlock()
		deleting += remove
		return err
	})
	n := float64(s.rounds)
	return n / took.Seconds(), n / (bare - deleting/atOnce).Seconds(), err
}

func (s *server) rush(ctx context.Context, do func(context.Context, int) error) (time.Duration, error) {
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range s.rounds {
		group.Go(func() error { return do(ctx, i) })
	}
	err := group.Wait()
	return time.Since(begin), err
}

// crowd is what many containers cost that do nothing.
func (s *server) crowd(ctx context.Context) ([]benchmark.Row, error) {
	own := s.cmd.Process.Pid
	before, err := pss([]int{own})
	if err != nil {
		return nil, err
	}
	for range s.many {
		if _, err := s.create(ctx); err != nil {
			return nil, err
		}
	}
	pids, err := s.inits()
	if err != nil {
		return nil, err
	}
	pids = append(pids, own)
	time.Sleep(rest / 4) //nolint:mnd // until all have come to rest
	after, err := pss(pids)
	if err != nil {
		return nil, err
	}
	begin := ticks(pids)
	time.Sleep(rest)
	const ticksASecond, percent, kibPerMiB = 100, 100, 1024
	idle := float64(ticks(pids)-begin) / ticksASecond / rest.Seconds() * percent
	name := func(what string) string { return fmt.Sprintf("wardend: %s, %d containers", what, s.many) }
	return []benchmark.Row{
		benchmark.Make(name("memory beside the application (PSS)"), "MiB/container",
			float64(after-before)/kibPerMiB/float64(s.many), 0, benchmark.AtMost(memoryBar)),
		benchmark.Make(name("idle processor time"), "% of a core", idle, 0, benchmark.AtMost(idleBar)),
	}, nil
}

// pss is processes' share of memory in KiB.
func pss(pids []int) (all int64, err error) {
	for _, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(raw)) {
			var kib int64
			if _, err := fmt.Sscanf(line, "Pss: %d kB", &kib); err == nil {
				all += kib
			}
		}
	}
	return all, nil
}

// ticks is the processor time that processes have used.
func ticks(pids []int) (all uint64) {
	for _, pid := range pids {
		if stat, err := proctree.Read(pid); err == nil {
			all += stat.User + stat.System
		}
	}
	return all
}
