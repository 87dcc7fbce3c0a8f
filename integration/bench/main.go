package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/benchmark"
)

// options are the flags.
type options struct {
	out, only string
	quick     bool
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", "docs/benchmarks.json", "file that the rows are written to")
	flag.StringVar(&o.only, "only", "", "measure only this group: temporal, push or staging")
	flag.BoolVar(&o.quick, "quick", false, "stage only a few times, to see that it works, and write nothing down")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// group is what is measured together.
type group struct {
	name string
	// programs are those that it needs and that a machine may lack.
	programs []string
	measure  func(context.Context, *stack.Stack) ([]benchmark.Row, error)
}

// groups are those that were asked for, in the order in which they are measured.
func (o options) groups() ([]group, error) {
	all := []group{
		{"temporal", nil, measureTemporal},
		{"push", nil, measurePush},
		{"staging", handPrograms, func(ctx context.Context, s *stack.Stack) ([]benchmark.Row, error) {
			return measureStaging(ctx, s, o.quick)
		}},
	}
	chosen := slices.DeleteFunc(all, func(g group) bool { return o.only != "" && o.only != g.name })
	if len(chosen) == 0 {
		return nil, fmt.Errorf("there is no group %q", o.only)
	}
	for _, g := range chosen {
		for _, program := range g.programs {
			if _, err := exec.LookPath(program); err != nil {
				return nil, fmt.Errorf("the group %s works by hand with %s: install it (apt-get install %[2]s)", g.name, program)
			}
		}
	}
	return chosen, nil
}

// run measures everything, or one group of it, and writes it down.
func run(ctx context.Context, o options) (failed error) {
	chosen, err := o.groups()
	if err != nil {
		return err
	}
	benchmark.WarnIfBusy()
	before := benchmark.CountTime()
	s, err := stack.Start(ctx, stack.Options{})
	if err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, s.Stop()) }()

	var rows []benchmark.Row
	for _, group := range chosen {
		measured, err := group.measure(ctx, s)
		if err != nil {
			return err
		}
		rows = append(rows, measured...)
	}
	benchmark.WarnIfStolen(before)
	if o.quick {
		return benchmark.Show(os.Stdout, rows)
	}
	root, err := stack.Root()
	if err != nil {
		return err
	}
	if err := benchmark.Save(o.out, benchmark.Here(ctx, root), rows); err != nil {
		return err
	}
	return benchmark.Show(os.Stdout, rows)
}
