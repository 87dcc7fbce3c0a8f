package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"github.com/durable-dea/dea/integration/internal/benchmark"
	"github.com/durable-dea/dea/integration/internal/stack"
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
	warnIfBusy()
	before := countTime()
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
	warnIfStolen(before)
	root, err := stack.Root()
	if err != nil {
		return err
	}
	if err := benchmark.Save(out, benchmark.Here(ctx, root), rows); err != nil {
		return err
	}
	return show(rows)
}

func show(rows []benchmark.Row) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVALUE\tFLOOR\tRATIO\tBAR\tUNIT\t")
	for _, row := range rows {
		bar, verdict := "-", ""
		if row.Bar != nil {
			bar, verdict = fmt.Sprint(*row.Bar), "ok"
		}
		if !row.OK {
			verdict = "MISSED"
		}
		fmt.Fprintf(table, "%s\t%v\t%v\t%v\t%s\t%s\t%s\n", row.Name, row.Value, row.Floor, row.Ratio, bar, row.Unit, verdict)
	}
	return table.Flush()
}
