package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"text/tabwriter"

	"github.com/durable-dea/dea/integration/internal/benchmark"
	"github.com/durable-dea/dea/integration/internal/stack"
)

func main() {
	out := flag.String("out", "docs/benchmarks.json", "file that the rows are written to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *out)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures everything and writes it down.
func run(ctx context.Context, out string) (failed error) {
	warnIfBusy()
	s, err := stack.Start(ctx, stack.Options{})
	if err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, s.Stop()) }()

	var rows []benchmark.Row
	for _, measure := range []func(context.Context, *stack.Stack) ([]benchmark.Row, error){
		measureTemporal, measurePush,
	} {
		measured, err := measure(ctx, s)
		if err != nil {
			return err
		}
		rows = append(rows, measured...)
	}
	root, err := stack.Root()
	if err != nil {
		return err
	}
	if err := benchmark.Save(out, benchmark.Here(ctx, root), rows); err != nil {
		return err
	}
	return show(rows)
}

// busy is the load average, of the last minute and per core, from which on others take what is measured.
const busy = 0.25

func warnIfBusy() {
	var load float64
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return
	}
	if _, err := fmt.Sscan(string(content), &load); err == nil && load/float64(runtime.NumCPU()) > busy {
		fmt.Fprintf(os.Stderr, "bench: this machine is busy (load average %.1f); the figures will be worse for it\n", load)
	}
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
