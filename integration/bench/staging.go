package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/benchmark"
)

const (
	// buildpackApp is the name under which the cloud controller keeps the buildpack: as a package, which is a zip, too.
	buildpackApp = "bench-buildpack"
	// mostWorkerMB is what the worker may hold whatever it stages.
	mostWorkerMB = 100
	// forgetTimeout bounds what is done although the measurement was interrupted.
	forgetTimeout = 30 * time.Second
)

// subject is an app whose staging is measured.
type subject struct {
	name, title string
	app         madeApp
	// warmUps are not counted.
	warmUps, runs int
	// most is how long a staging may take that takes so long by hand, in milliseconds.
	most func(hand float64) float64
}

func subjects(quick bool) []subject {
	small := subject{
		name: "bench-small", title: "a small app", app: madeApp{texts: 5, blobs: 1, textBytes: 8 << 10, blobBytes: 2 << 10},
		warmUps: 3, runs: 20,
		// Half a second for a container, durability and both callbacks, and a twentieth for everything else.
		most: func(hand float64) float64 { return 1.05*hand + 500 },
	}
	large := subject{
		name: "bench-large", title: "a large app (300 MB, 20,000 files)",
		app:  madeApp{texts: 19_000, blobs: 1_000, textBytes: 150 << 20, blobBytes: 150 << 20},
		runs: 3,
		// Two cores are more than a pipe of tar and gzip uses.
		most: func(hand float64) float64 { return hand },
	}
	if quick {
		small.warmUps, small.runs, large.runs = 1, 3, 1
	}
	return []subject{small, large}
}

// measureStaging measures stagings beside the same work by hand, with the buildpack on the node, and what the worker holds
// meanwhile.
func measureStaging(ctx context.Context, s *stack.Stack, quick bool) (rows []benchmark.Row, failed error) {
	worker, err := s.Worker(1)
	if err != nil {
		return nil, err
	}
	idle, err := benchmark.MemoryOf(worker.PID)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "dea-staging-by-hand")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	b := &stagingBench{Stack: s, worker: worker.PID, idle: idle.Now, hand: stagingHand{dir}}
	defer func() { failed = errors.Join(failed, b.close(ctx)) }()
	if err := b.offerBuildpack(ctx); err != nil {
		return nil, err
	}
	for _, one := range subjects(quick) {
		measured, err := b.measure(ctx, one)
		if err != nil {
			return nil, fmt.Errorf("staging of %s: %w", one.title, err)
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

// stagingBench is what the measurements of stagings share.
type stagingBench struct {
	*stack.Stack
	hand stagingHand
	// worker is the process id of the worker, and idle what it holds before it has staged anything, in MB.
	worker int
	idle   float64
	// apps are those that the cloud controller has.
	apps []string
	pack api.AdminBuildpack
}

// close works although ctx has ended.
func (b *stagingBench) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTimeout)
	defer cancel()
	failed := os.RemoveAll(b.hand.dir)
	for _, app := range b.apps {
		failed = errors.Join(failed, b.Forget(ctx, app))
	}
	return failed
}

// upload gives the cloud controller a zip that write makes.
func (b *stagingBench) upload(ctx context.Context, app string, write func(path string) error) error {
	path := filepath.Join(b.hand.dir, app+".zip")
	if err := write(path); err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read a zip: %w", err)
	}
	defer file.Close()
	if err := b.UploadFrom(ctx, app, file); err != nil {
		return err
	}
	b.apps = append(b.apps, app)
	return os.Remove(path)
}

// offerBuildpack puts the buildpack where both find it: by hand it is a directory.
func (b *stagingBench) offerBuildpack(ctx context.Context) error {
	if err := unpackBuildpack(b.hand.buildpack()); err != nil {
		return err
	}
	if err := b.upload(ctx, buildpackApp, zipBuildpack); err != nil {
		return err
	}
	kept, err := b.StagingRequest(ctx, buildpackApp)
	if err != nil {
		return err
	}
	b.pack = api.AdminBuildpack{Key: buildpackApp, URL: kept.DownloadURI}
	return nil
}

// measure stages an app by hand and by the platform in turn, so that both see the same machine, and shows where the
// time went.
func (b *stagingBench) measure(ctx context.Context, one subject) ([]benchmark.Row, error) {
	if err := b.upload(ctx, one.name, one.app.zip); err != nil {
		return nil, err
	}
	var hands []handRun
	var stagings []stagingRun
	for n := range one.warmUps + one.runs {
		request, err := b.request(ctx, one.name)
		if err != nil {
			return nil, err
		}
		unix.Sync() // what was written before is nobody's to wait for
		hand, err := b.hand.stage(ctx, request)
		if err != nil {
			return nil, err
		}
		unix.Sync()
		staging, err := b.stage(ctx, request)
		if err != nil {
			return nil, err
		}
		if n >= one.warmUps {
			hands, stagings = append(hands, hand), append(stagings, staging)
		}
	}
	if err := b.showTimes(ctx, one.title, median(hands), median(stagings), one.runs); err != nil {
		return nil, err
	}
	return one.rows(median(stagings), median(hands), peak(stagings), b.idle), nil
}

func (one subject) rows(staging stagingRun, hand handRun, peak, idle float64) []benchmark.Row {
	byHand := benchmark.Median([]time.Duration{hand.took()})
	ours := benchmark.Median([]time.Duration{staging.took()})
	most := math.Round(one.most(byHand)) // a bar of more digits than its row has reads badly
	return []benchmark.Row{
		benchmark.Make("staging of "+one.title, "ms", ours, byHand, benchmark.AtMost(most)),
		benchmark.Make("staging of "+one.title+": worker's peak memory", "MB", peak, idle, benchmark.AtMost(mostWorkerMB)),
	}
}

// request asks to stage an app anew.
func (b *stagingBench) request(ctx context.Context, app string) (api.StagingRequest, error) {
	request, err := b.StagingRequest(ctx, app)
	if err != nil {
		return request, err
	}
	request.AdminBuildpacks = []api.AdminBuildpack{b.pack}
	request.MemoryLimit, request.DiskLimit = 1024, 4096
	request.Properties.Resources.MemoryMB, request.Properties.Resources.DiskMB = request.MemoryLimit, request.DiskLimit
	return request, nil
}

// stagingRun is one staging by the platform.
type stagingRun struct {
	app, task string
	// begun is when Stage was called, accepted when it returned, and ended when Wait did.
	begun, accepted, ended time.Time
	// peak is the most that the worker held meanwhile, in MB.
	peak float64
}

func (r stagingRun) took() time.Duration { return r.ended.Sub(r.begun) }

func (b *stagingBench) stage(ctx context.Context, request api.StagingRequest) (stagingRun, error) {
	run := stagingRun{app: request.AppID, task: request.TaskID}
	if err := benchmark.ForgetPeak(b.worker); err != nil {
		return run, err
	}
	run.begun = time.Now()
	staging, err := b.Control.Stage(ctx, request)
	if err != nil {
		return run, err
	}
	run.accepted = time.Now()
	if _, err := staging.Wait(ctx); err != nil {
		return run, err
	}
	run.ended = time.Now()
	memory, err := benchmark.MemoryOf(b.worker)
	run.peak = memory.Peak
	return run, err
}

// median is the run whose time is the middle one.
func median[R interface{ took() time.Duration }](runs []R) R {
	sorted := slices.SortedFunc(slices.Values(runs), func(a, b R) int { return cmp.Compare(a.took(), b.took()) })
	return sorted[len(sorted)/2]
}

func peak(runs []stagingRun) float64 {
	most := 0.0
	for _, run := range runs {
		most = max(most, run.peak)
	}
	return most
}
