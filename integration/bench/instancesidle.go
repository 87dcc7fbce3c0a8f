package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/benchmark"
	"github.com/durable-dea/dea/internal/pause"
)

const (
	// settle is for what still happens when the last instance has become RUNNING.
	settle = 15 * time.Second
	// mostIdleCPU is in percent of one core, mostIdleMB in MB of 2^20 bytes.
	mostIdleCPU = 1
	mostIdleMB  = 80
	// mostMore is how much more a second may be asked of Temporal with many instances than with few: not one request of an
	// instance in half an hour.
	mostMore = 0.1
	// fewIdle bounds how long the few are watched: they are the floor.
	fewIdle = 2 * time.Minute
)

// idleness is what an idle node has cost.
type idleness struct {
	// events is how much the histories of the app and of its instances have grown.
	events int64
	// requests are what Temporal was asked a second, cpu the worker's percent of a core, memory what it held in the end in MB.
	requests, cpu, memory float64
}

// measureIdle watches a node whose instances do nothing, few of them and then many.
func (b *instancesBench) measureIdle(ctx context.Context, small droplet) (_ []benchmark.Row, failed error) {
	spec := b.app(small, b.few)
	app := spec.Message.AppID
	if _, err := b.startApp(ctx, spec); err != nil {
		return nil, err
	}
	defer func() { failed = errors.Join(failed, b.remove(ctx, app)) }()
	few, err := b.watchIdle(ctx, app, b.few, min(b.idle, fewIdle))
	if err != nil {
		return nil, err
	}
	if err := b.scale(ctx, app, b.many); err != nil {
		return nil, err
	}
	many, err := b.watchIdle(ctx, app, b.many, b.idle)
	if err != nil {
		return nil, err
	}
	const hundredths = 100 // of a request: a bar of more digits reads badly
	title := fmt.Sprintf("%d idle instances: ", b.many)
	return []benchmark.Row{
		b.row(title+"new events in histories", "events", float64(many.events), float64(few.events), benchmark.AtMost(0)),
		b.row(title+"requests to Temporal", "requests/s", many.requests, few.requests,
			benchmark.AtMost(math.Round((few.requests+mostMore)*hundredths)/hundredths)),
		b.row(title+"worker's processor time", "% of a core", many.cpu, few.cpu, benchmark.AtMost(mostIdleCPU)),
		b.row(title+"worker's memory", "MB", many.memory, few.memory, benchmark.AtMost(mostIdleMB)),
	}, nil
}

// scale brings an app to more instances, and waits until all are RUNNING.
func (b *instancesBench) scale(ctx context.Context, app string, instances int) error {
	ctx, cancel := context.WithCancel(ctx) // or the listening's polls would be among the requests
	defer cancel()
	if _, err := b.Control.Scale(ctx, app, instances); err != nil {
		return err
	}
	_, err := awaitRunning(ctx, listen(ctx, b, api.AppWorkflowID(app), api.SignalInstanceChanged), instances)
	return err
}

func (b *instancesBench) watchIdle(ctx context.Context, app string, count int, idle time.Duration) (idleness, error) {
	if !pause.For(ctx, settle) {
		return idleness{}, ctx.Err()
	}
	worker, err := b.Worker(1)
	if err != nil {
		return idleness{}, err
	}
	ids, err := b.workflowsOf(ctx, app, count)
	if err != nil {
		return idleness{}, err
	}
	before, err := b.count(ctx, ids, worker.PID)
	if err != nil {
		return idleness{}, err
	}
	if !pause.For(ctx, idle) {
		return idleness{}, ctx.Err()
	}
	after, err := b.count(ctx, ids, worker.PID)
	if err != nil {
		return idleness{}, err
	}
	memory, err := benchmark.MemoryOf(worker.PID)
	passed := after.at.Sub(before.at).Seconds()
	return idleness{
		events: after.events - before.events, requests: (after.requests - before.requests) / passed,
		cpu: 100 * (after.cpu - before.cpu) / passed, memory: memory.Now,
	}, err
}

// workflowsOf are an app's workflow and those of its instances, all of which must run.
func (b *instancesBench) workflowsOf(ctx context.Context, app string, count int) ([]string, error) {
	status, err := b.Control.App(ctx, app)
	if err != nil {
		return nil, err
	}
	if status.Running != count || len(status.Instances) != count {
		return nil, fmt.Errorf("%d of %d instances run: %s", status.Running, count, status.Problem)
	}
	ids := []string{api.AppWorkflowID(app)}
	for _, instance := range status.Instances {
		ids = append(ids, api.InstanceWorkflowID(instance.InstanceID))
	}
	return ids, nil
}

// counters are at a moment.
type counters struct {
	at            time.Time
	events        int64
	requests, cpu float64
}

// count reads all counters. The describing of workflows costs the worker nothing, and is not among the requests.
func (b *instancesBench) count(ctx context.Context, ids []string, worker int) (counters, error) {
	var c counters
	var err error
	if c.events, err = b.countEvents(ctx, ids); err != nil {
		return c, err
	}
	if c.requests, err = b.countRequests(ctx); err != nil {
		return c, err
	}
	c.at = time.Now()
	c.cpu, err = processorTime(worker)
	return c, err
}

// countEvents is how long the histories of workflows are.
func (b *instancesBench) countEvents(ctx context.Context, ids []string) (int64, error) {
	events := int64(0)
	for _, id := range ids {
		described, err := b.Temporal.DescribeWorkflowExecution(ctx, id, "")
		if err != nil {
			return 0, fmt.Errorf("describe %s: %w", id, err)
		}
		events += described.GetWorkflowExecutionInfo().GetHistoryLength()
	}
	return events, nil
}

// requestsMetric counts, in the metrics of Temporal's server, what its services were asked; describing is ours.
const requestsMetric = "service_requests_total"

// countRequests is what Temporal was asked for by the namespace's clients since it started, but for what countEvents asks.
func (b *instancesBench) countRequests(ctx context.Context) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return 0, fmt.Errorf("read Temporal's metrics: %w", err)
	}
	defer answer.Body.Close()
	total, found := 0.0, false
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		labels, value, ok := strings.Cut(lines.Text(), "} ")
		if !ok || !strings.HasPrefix(labels, requestsMetric+"{") || !strings.Contains(labels, `service_name="frontend"`) ||
			!strings.Contains(labels, `namespace="`+b.Client.Temporal.Namespace+`"`) || strings.Contains(labels, "DescribeWorkflowExecution") {
			continue
		}
		count, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("read Temporal's metrics: %w", err)
		}
		total, found = total+count, true
	}
	if !found {
		return 0, errors.New("read Temporal's metrics: there are no requests among them")
	}
	return total, lines.Err()
}

// processorTime is what a process has used since it started, in seconds.
func processorTime(pid int) (float64, error) {
	const ticks = 100 // a second: USER_HZ, on every machine that Linux runs on but Alpha
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read a process's time: %w", err)
	}
	// The name, in brackets, may hold anything; utime and stime are the 12th and 13th field after it.
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	const user, system = 11, 12
	if len(fields) <= system {
		return 0, errors.New("read a process's time: too few fields")
	}
	u, err := strconv.ParseFloat(fields[user], 64)
	s, failed := strconv.ParseFloat(fields[system], 64)
	return (u + s) / ticks, errors.Join(err, failed)
}
