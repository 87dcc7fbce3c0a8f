package stats

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

const (
	// Interval is the time between two measurements, as operators know it.
	Interval = api.StatsInterval
	// lifetime is how long a measurement tells how an instance is: where Warden hangs, nothing is better than what was.
	lifetime = 3 * Interval
	// newcomers is how long after one has come instances are looked for that were not measured yet: many come at once.
	newcomers = time.Second
	// infoTimeout bounds the measuring of one instance, parallel how many are measured at once.
	infoTimeout = 5 * time.Second
	parallel    = 4
	// mb is the unit of limits.
	mb = 1 << 20
)

// Target is an instance to measure.
type Target struct {
	InstanceID string
	AppID      string
	Index      int
	// Limits are its container's; 0 is none.
	Limits api.Limits
}

// Deps is what a Meter works with.
type Deps struct {
	// Node is the node's id, BaseDir its base directory.
	Node, BaseDir string
	Warden        *warden.Client
	// Targets are the instances to measure now. It is called before each pass and must come back soon.
	Targets func() []Target
	// Came has something in it when targets may have come since it was last read; nil where nobody tells.
	Came <-chan struct{}
	Log  hclog.Logger
}

// Meter measures a node. It is safe for concurrent use.
type Meter struct {
	deps Deps
	log  hclog.Logger

	mu   sync.Mutex
	last map[string]sample
}

// sample is one measurement. known is false where Warden did not say how much processor time was used.
type sample struct {
	stats api.InstanceStats
	known bool
}

// New makes a meter that has measured nothing.
func New(deps Deps) *Meter {
	return &Meter{deps: deps, log: deps.Log.Named("stats"), last: map[string]sample{}}
}

// Run measures at once and then each Interval, until ctx ends; an instance that comes in between, within a second or so. A
// pass is over before the next one begins: what is not measured by then keeps its older numbers for a while, with their
// time.
func (m *Meter) Run(ctx context.Context) {
	all := time.NewTicker(Interval)
	defer all.Stop()
	var some <-chan time.Time // while newcomers are awaited
	for measure := m.Measure; ; {
		pass, cancel := context.WithTimeout(ctx, Interval)
		measure(pass)
		cancel()
		for measure = nil; measure == nil; {
			select {
			case <-ctx.Done():
				return
			case <-all.C:
				measure = m.Measure
			case <-m.deps.Came:
				if some == nil {
					some = time.After(newcomers)
				}
			case <-some:
				some, measure = nil, m.measureNew
			}
		}
	}
}

// Measure makes one pass over the targets, and forgets instances that are none any more. It ends soon after ctx does.
func (m *Meter) Measure(ctx context.Context) {
	targets := m.deps.Targets()
	m.keepOnly(targets)
	failures := m.measureAll(ctx, targets)
	if failures.n > 0 && !errors.Is(ctx.Err(), context.Canceled) {
		m.log.Warn("instances could not be measured", "instances", failures.n, "first", failures.first)
	}
}

// measureNew measures the targets that never were. One that fails is said in the next pass over all.
func (m *Meter) measureNew(ctx context.Context) {
	targets := m.deps.Targets()
	m.mu.Lock()
	targets = slices.DeleteFunc(targets, func(t Target) bool {
		_, measured := m.last[t.InstanceID]
		return measured
	})
	m.mu.Unlock()
	m.measureAll(ctx, targets)
}

func (m *Meter) measureAll(ctx context.Context, targets []Target) *errorCount {
	var failures errorCount
	var measuring sync.WaitGroup
	var next atomic.Int64
	for range min(parallel, len(targets)) { // a goroutine for each target would cost as much as the measuring
		measuring.Go(func() {
			for n := next.Add(1) - 1; int(n) < len(targets); n = next.Add(1) - 1 {
				failures.add(m.measure(ctx, targets[n]))
			}
		})
	}
	measuring.Wait()
	return &failures
}

func (m *Meter) keepOnly(targets []Target) {
	wanted := make(map[string]bool, len(targets))
	for _, t := range targets {
		wanted[t.InstanceID] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.last, func(id string, _ sample) bool { return !wanted[id] })
}

// measure asks Warden about one instance. One that Warden does not know is about to go, which is no failure.
func (m *Meter) measure(ctx context.Context, target Target) error {
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	info, err := m.deps.Warden.Info(ctx, &wardenpb.InfoRequest{Handle: proto.String(target.InstanceID)})
	if errors.Is(err, warden.ErrUnknownHandle) {
		return nil
	}
	if err != nil {
		return err
	}
	now := read(target, info, time.Now())
	m.mu.Lock()
	defer m.mu.Unlock()
	now.stats.CPU = cores(m.last[target.InstanceID], now)
	m.last[target.InstanceID] = now
	return nil
}

// read takes what Warden said over into our words. Numbers that it did not say are 0.
func read(target Target, info *wardenpb.InfoResponse, at time.Time) sample {
	cpu := info.GetCpuStat()
	return sample{
		known: cpu != nil && cpu.Usage != nil,
		stats: api.InstanceStats{
			InstanceID: target.InstanceID, AppID: target.AppID, Index: target.Index, At: at,
			CPUTime:     time.Duration(cpu.GetUsage()), //nolint:gosec // nanoseconds of 292 years
			MemoryBytes: memory(info.GetMemoryStat()), MemoryLimitBytes: target.Limits.MemoryMB * mb,
			DiskBytes:      int64(info.GetDiskStat().GetBytesUsed()), //nolint:gosec // a disk's size fits
			DiskLimitBytes: target.Limits.DiskMB * mb,
		},
	}
}

// memory is what cannot be given back at once: without the files' that nobody used lately.
func memory(stat *wardenpb.InfoResponse_MemoryStat) int64 {
	resident := cmp.Or(stat.GetTotalRss(), stat.GetRss())
	cache := cmp.Or(stat.GetTotalCache(), stat.GetCache())
	idle := cmp.Or(stat.GetTotalInactiveFile(), stat.GetInactiveFile())
	return int64(resident + cache - min(idle, cache)) //nolint:gosec // a memory's size fits
}

// cores is the part of a core that was used between two samples. Time that went back, as it does when a process ends
// unseen, counts as none.
func cores(before, now sample) float64 {
	passed := now.stats.At.Sub(before.stats.At)
	if !before.known || !now.known || passed <= 0 {
		return 0
	}
	return max(0, (now.stats.CPUTime-before.stats.CPUTime).Seconds()/passed.Seconds())
}

// isCurrent tells whether a sample still says how its instance is.
func (s sample) isCurrent() bool { return time.Since(s.stats.At) < lifetime }

// Instance is what was last measured of an instance; false where nothing was yet, not any more, or not for three
// intervals.
func (m *Meter) Instance(id string) (api.InstanceStats, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.last[id]; ok && s.isCurrent() {
		return s.stats, true
	}
	return api.InstanceStats{}, false
}

// Node is what the machine uses at this moment, with what was last measured of each instance, by app and index; without
// those that were not measured for three intervals. What cannot be read of the machine is 0 and logged.
func (m *Meter) Node() api.NodeStats {
	stats, err := machine(m.deps.BaseDir)
	if err != nil {
		m.log.Warn("the machine cannot be measured", "error", err)
	}
	stats.Node, stats.At = m.deps.Node, time.Now()
	m.mu.Lock()
	for _, s := range m.last {
		if s.isCurrent() {
			stats.Instances = append(stats.Instances, s.stats)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(stats.Instances, func(a, b api.InstanceStats) int {
		return cmp.Or(cmp.Compare(a.AppID, b.AppID), cmp.Compare(a.Index, b.Index), cmp.Compare(a.InstanceID, b.InstanceID))
	})
	return stats
}

// errorCount keeps a log short when all fail of the same.
type errorCount struct {
	mu    sync.Mutex
	n     int
	first error
}

func (c *errorCount) add(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if c.first == nil {
		c.first = err
	}
}
