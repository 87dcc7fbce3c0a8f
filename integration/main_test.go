package integration

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/integration/internal/stack"
)

const (
	// soon is for what needs a moment: a signal, a container that goes, visibility that lags.
	soon = 15 * time.Second
	// later is for a staging or a start, on a machine with two cores that is busy.
	later = 90 * time.Second
	// pause is between two looks.
	pause = 50 * time.Millisecond
)

// shared is the stack that most tests use. A test that breaks something for longer than it lasts starts its own.
var shared *stack.Stack

// atOnce is how many tests run at once that say they may, where nobody asks for another number: they have stacks of their
// own, and what they wait for is the timeouts of Temporal and not the processors.
const atOnce = "16"

func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			fmt.Fprintln(os.Stderr, "integration:", err)
			os.Exit(1)
		}
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if shared, err = stack.Start(context.Background(), stack.Options{Nodes: 2}); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "integration:", err)
		}
		os.Exit(1)
	}()
	status := m.Run()
	if status != 0 {
		fmt.Fprintln(os.Stderr, shared.Warnings())
	}
	if err := shared.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "integration: after the last test:", err)
		return 1
	}
	return status
}

// clean waits until nothing of any app or staging is left on the shared stack's nodes.
func clean(t *testing.T, s *stack.Stack) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	eventually(t, soon, func() error { return s.InUse(ctx) })
}

// eventually waits until check gives no error, and fails with the last one it gave.
func eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	var last error
	met := func() bool {
		last = check()
		return last == nil
	}
	if met() {
		return
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if met() {
				return
			}
		case <-deadline.C:
			require.NoError(t, last, "not within %s", limit)
			return
		}
	}
}
