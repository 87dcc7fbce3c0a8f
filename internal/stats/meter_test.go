package stats

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/wardentest"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) { os.Exit(wardentest.Main(m)) }

func spawn(tb testing.TB, w *warden.Client, handle, script string) {
	tb.Helper()
	_, err := w.Create(tb.Context(), &wardenpb.CreateRequest{Handle: proto.String(handle)})
	require.NoError(tb, err)
	_, err = w.Spawn(tb.Context(), &wardenpb.SpawnRequest{Handle: proto.String(handle), Script: proto.String(script)})
	require.NoError(tb, err)
}

func newMeter(w *warden.Client, dir string, targets func() []Target) *Meter {
	return New(Deps{
		Node: "n", BaseDir: dir, Warden: w, Log: hclog.NewNullLogger(),
		Targets: targets,
	})
}

func TestInstancesAreMeasured(t *testing.T) {
	w := wardentest.Start(t).Client
	spawn(t, w, "busy", `head -c 3000000 /dev/zero > file; while :; do :; done`)
	spawn(t, w, "idle", `exec sleep 600`)
	targets := []Target{
		{InstanceID: "idle", AppID: "b", Index: 1, Limits: api.Limits{MemoryMB: 64, DiskMB: 32}},
		{InstanceID: "busy", AppID: "a"},
		{InstanceID: "unknown", AppID: "c"},
	}
	m := newMeter(w, t.TempDir(), func() []Target { return targets })
	_, known := m.Instance("busy")
	require.False(t, known)
	require.Eventually(t, func() bool {
		m.Measure(t.Context())
		busy, _ := m.Instance("busy")
		return busy.CPU > 0 && busy.CPUTime > 0 && busy.MemoryBytes > 100<<10 && busy.DiskBytes >= 3000000
	}, patience, 200*time.Millisecond)
	idle, known := m.Instance("idle")
	require.True(t, known)
	require.WithinDuration(t, time.Now(), idle.At, patience)
	require.EqualValues(t, 64<<20, idle.MemoryLimitBytes)
	require.EqualValues(t, 32<<20, idle.DiskLimitBytes)
	require.Less(t, idle.CPU, 0.5)
	require.Equal(t, 1, idle.Index)
	_, known = m.Instance("unknown")
	require.False(t, known)

	node := m.Node()
	require.Len(t, node.Instances, 2)
	require.Equal(t, "a", node.Instances[0].AppID)
	require.Equal(t, "n", node.Node)
	require.Positive(t, node.Cores)
	require.Positive(t, node.MemoryUsedBytes)
	require.Positive(t, node.MemoryFreeBytes)
	require.Positive(t, node.DiskUsedBytes+node.DiskFreeBytes)

	targets = targets[1:]
	m.Measure(t.Context())
	_, known = m.Instance("idle")
	require.False(t, known, "it is no target any more")
}

// TestAWardenThatHangs has one that takes questions and answers none: a pass ends with its context, and what was
// measured before stays with its time.
func TestAWardenThatHangs(t *testing.T) {
	dir, err := os.MkdirTemp("", "dea")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	defer listener.Close()
	client := warden.NewClient(filepath.Join(dir, "s"))
	defer client.Close()
	var targets []Target
	for i := range 200 {
		targets = append(targets, Target{InstanceID: fmt.Sprint(i)})
	}
	m := newMeter(client, dir, func() []Target { return targets })
	old := sample{stats: api.InstanceStats{InstanceID: "7", At: time.Now().Add(-2 * Interval)}}
	m.last["7"] = old
	m.last["8"] = sample{stats: api.InstanceStats{InstanceID: "8", At: time.Now().Add(-lifetime)}}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	m.Measure(ctx)
	require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
	still, known := m.Instance("7")
	require.True(t, known)
	require.Equal(t, old.stats, still)
	_, known = m.Instance("8")
	require.False(t, known, "nobody knows how it is now")
	require.Equal(t, []api.InstanceStats{old.stats}, m.Node().Instances)
}

func TestNewcomersAreMeasuredBesideTheOthers(t *testing.T) {
	w := wardentest.Start(t).Client
	var targets []Target
	for _, id := range []string{"old", "new"} {
		spawn(t, w, id, `exec sleep 600`)
		targets = append(targets, Target{InstanceID: id})
	}
	m := newMeter(w, t.TempDir(), func() []Target { return slices.Clone(targets) })
	was := sample{stats: api.InstanceStats{InstanceID: "old", At: time.Now()}}
	m.last["old"] = was
	m.measureNew(t.Context())
	_, known := m.Instance("new")
	require.True(t, known)
	require.Equal(t, was, m.last["old"], "it has its own time")
}

// TestNewcomersAreLookedForSoon after they have come, and otherwise not: a look costs what all targets together do.
func TestNewcomersAreLookedForSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var looks atomic.Uint64
		came := make(chan struct{}, 1)
		m := newMeter(warden.NewClient(filepath.Join(t.TempDir(), "none")), t.TempDir(), func() []Target { looks.Add(1); return nil })
		m.deps.Came = came
		var running sync.WaitGroup
		running.Go(func() { m.Run(ctx) })
		time.Sleep(4*newcomers + newcomers/2)
		require.EqualValues(t, 1, looks.Load(), "nobody has come")
		came <- struct{}{}
		time.Sleep(newcomers / 2)
		came <- struct{}{}
		time.Sleep(newcomers)
		require.EqualValues(t, 2, looks.Load())
		time.Sleep(4 * newcomers)
		require.EqualValues(t, 2, looks.Load())
		cancel()
		running.Wait()
	})
}

func TestRunEnds(t *testing.T) {
	w := wardentest.Start(t).Client
	measured := make(chan struct{})
	var once sync.Once
	m := newMeter(w, t.TempDir(), func() []Target { once.Do(func() { close(measured) }); return nil })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx) }()
	<-measured
	cancel()
	<-ended
}

func TestCores(t *testing.T) {
	at := time.Now()
	now := func(cpu, after time.Duration) sample {
		return sample{known: true, stats: api.InstanceStats{CPUTime: cpu, At: at.Add(after)}}
	}
	before := now(time.Second, 0)
	require.InDelta(t, 0.5, cores(before, now(6*time.Second, 10*time.Second)), 1e-9)
	require.Zero(t, cores(before, now(0, time.Second)), "time went back")
	require.Zero(t, cores(sample{}, before), "the first")
	require.Zero(t, cores(before, now(2*time.Second, 0)))
	require.Zero(t, cores(before, sample{stats: now(2*time.Second, time.Second).stats}), "not said")
}

func TestMemoryIsWhatIsInUse(t *testing.T) {
	require.EqualValues(t, 130, memory(&wardenpb.InfoResponse_MemoryStat{
		TotalRss: proto.Uint64(100), TotalCache: proto.Uint64(50), TotalInactiveFile: proto.Uint64(20),
	}))
	require.EqualValues(t, 100, memory(&wardenpb.InfoResponse_MemoryStat{
		Rss: proto.Uint64(100), TotalInactiveFile: proto.Uint64(20),
	}))
	require.Zero(t, memory(nil))
}

// BenchmarkPass measures 200 instances with a real server.
func BenchmarkPass(b *testing.B) {
	w := wardentest.Start(b).Client
	var targets []Target
	for i := range 200 {
		id := fmt.Sprintf("i-%d", i)
		_, err := w.Create(b.Context(), &wardenpb.CreateRequest{Handle: proto.String(id)})
		require.NoError(b, err)
		targets = append(targets, Target{InstanceID: id})
	}
	m := newMeter(w, b.TempDir(), func() []Target { return targets })
	for b.Loop() {
		m.Measure(b.Context())
	}
	require.Len(b, m.Node().Instances, len(targets))
}
