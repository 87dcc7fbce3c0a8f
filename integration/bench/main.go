package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/benchmark"
)

func main() {
	out := flag.String("out", "docs/benchmarks.json", "file that the rows are written to")
	only := flag.String("only", "", "measure only this group: temporal or push")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *out, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// groups are what is measured together, in this order.
var groups = []struct {
	name    string
	measure func(context.Context, *stack.Stack) ([]benchmark.Row, error)
}{{"temporal", measureTemporal}, {"push", measurePush}}

// run measures everything, or one group of it, and writes it down.
func run(ctx context.Context, out, only string) (failed error) {
	benchmark.WarnIfBusy()
	before := benchmark.CountTime()
	s, err := stack.Start(ctx, stack.Options{})
	if err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, s.Stop()) }()

	var rows []benchmark.Row
	for _, group := range groups {
		if only != "" && only != group.name {
			continue
		}
		measured, err := group.measure(ctx, s)
		if err != nil {
			return err
		}
		rows = append(rows, measured...)
	}
	benchmark.WarnIfStolen(before)
	root, err := stack.Root()
	if err != nil {
		return err
	}
	if err := benchmark.Save(out, benchmark.Here(ctx, root), rows); err != nil {
		return err
	}
	return benchmark.Show(os.Stdout, rows)
}
