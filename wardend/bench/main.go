// Command bench measures a wardend with real containers beside the shortest way that the OCI runtime alone has, in one
// run, and writes the rows to docs/benchmarks.json. It needs root, and a runtime; `make bench-wardend` builds the rest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/durable-dea/dea/internal/benchmark"
	"github.com/durable-dea/dea/internal/sandbox"
)

func main() {
	if code, done := sandbox.Enter(); done {
		os.Exit(code)
	}
	var o options
	flag.StringVar(&o.out, "out", "docs/benchmarks.json", "file that the rows are written to")
	flag.StringVar(&o.wardend, "wardend", "bin/wardend", "the wardend that is measured, statically linked")
	flag.StringVar(&o.tool, "tool", "bin/conformance/tool", "wardend/internal/conformance/tool as a program")
	flag.StringVar(&o.runtime, "runtime", "", "OCI runtime (default: the one that wardend chooses)")
	flag.IntVar(&o.rounds, "rounds", 100, "how often each thing is done")
	flag.IntVar(&o.many, "many", 200, "containers that memory and idle time are measured with")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	out, wardend, tool, runtime string
	rounds, many                int
}

func run(ctx context.Context, o options) (failed error) {
	if err := sandbox.Check(); err != nil {
		return err
	}
	var err error
	if o.wardend, err = filepath.Abs(o.wardend); err != nil {
		return err
	}
	if o.tool, err = filepath.Abs(o.tool); err != nil {
		return err
	}
	benchmark.WarnIfBusy()
	before := benchmark.CountTime()
	s, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, s.stop()) }()
	rows, err := s.measure(ctx)
	if err != nil {
		return err
	}
	benchmark.WarnIfStolen(before)
	if err := benchmark.Save(o.out, benchmark.Here(ctx, "."), rows); err != nil {
		return err
	}
	return benchmark.Show(os.Stdout, rows)
}
