package integration

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/integration/internal/stack"
)

// seedVariable is where TestRandomDeaths takes its seed from, to do again what it did in a run that failed.
const seedVariable = "DEA_TEST_SEED"

// TestRandomDeaths stages one app after another, in two lanes, while workers are killed and started again at random.
// Every staging must succeed, on one node and with one build.
func TestRandomDeaths(t *testing.T) {
	t.Parallel()
	const lanes, each = 2, 10
	seed, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("%s=%d", seedVariable, seed)
	// Each node has room for both lanes: the other one may be out of sight.
	f := newField(t, 2, stack.OwnOptions{MemoryMB: 4096, DiskMB: 8192})
	for _, node := range f.nodes {
		ready(t, node)
	}
	killing, stop := context.WithCancel(t.Context())
	defer stop()
	killed := make(chan struct{})
	var kills int
	var killer error
	go func() {
		defer close(killed)
		kills, killer = f.killAtRandom(killing, rand.New(rand.NewPCG(seed, 0)))
	}()
	t.Run("all", func(t *testing.T) { // ends when all that is in it has
		for lane := range lanes {
			t.Run(strconv.Itoa(lane+1), func(t *testing.T) {
				t.Parallel()
				for range each {
					f.stageOne(t)
				}
			})
		}
	})
	stop()
	<-killed
	require.NoError(t, killer)
	assert.NotZero(t, kills)
	t.Logf("%d workers were killed", kills)
	eventually(t, later, func() error { return f.InUse(t.Context()) })
	for _, node := range f.nodes {
		eventually(t, soon, func() error { return node.InUse(t.Context()) })
	}
	eventually(t, soon, f.UploadsByHalf)
}

func (f *field) stageOne(t *testing.T) {
	t.Helper()
	r := newTrial(t, f.gate, f.Stack, nil)
	r.more = `head -c 8000000 /dev/urandom > "$1/large"; head -c 8000000 /dev/urandom > "$2/large"`
	r.begin(t)
	r.succeeds(t)
	eventually(t, soon, func() error { return r.living(t) })
}

// killAtRandom kills workers and starts them again, one, two or three times in a row, until ctx ends; it leaves all
// running. It waits for a node to be seen before it kills on: at any moment one of the two takes work.
func (f *field) killAtRandom(ctx context.Context, random *rand.Rand) (kills int, _ error) {
	for {
		node := f.nodes[random.IntN(len(f.nodes))]
		for range 1 + random.IntN(3) {
			select {
			case <-ctx.Done():
				return kills, nil
			case <-time.After(time.Duration(random.Int64N(int64(2 * time.Second)))):
			}
			if err := node.KillWorker(); err != nil {
				return kills, err
			}
			kills++
			// Not ctx: the last one is to run, too.
			if err := node.StartWorker(context.WithoutCancel(ctx)); err != nil {
				return kills, err
			}
		}
		if err := f.awaitReady(ctx, node); err != nil {
			return kills, err
		}
	}
}

// awaitReady waits for a node that was killed to be seen; the end of ctx is none of its fault.
func (f *field) awaitReady(ctx context.Context, node *stack.Own) error {
	limited, cancel := context.WithTimeout(ctx, later)
	defer cancel()
	if err := node.Ready(limited); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
