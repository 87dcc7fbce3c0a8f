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
	"time"

	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/benchmark"
	"github.com/durable-dea/dea/internal/sandbox"
)

// options are the flags.
type options struct {
	out, only, backend string
	quick              bool
	idle               time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", "docs/benchmarks.json", "file that the rows are written to")
	flag.StringVar(&o.only, "only", "", "measure only this group: temporal, push, files, exec, staging, routes or instances")
	flag.BoolVar(&o.quick, "quick", false, "stage and start only a few times, to see that it works, and write nothing down")
	flag.StringVar(&o.backend, "backend", "", "start instances in containers of this kind alone: oci or process")
	flag.DurationVar(&o.idle, "idle", 10*time.Minute, "how long idle instances are watched")
	flag.Parse()
	if code, done := o.enterSandbox(); done {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// enterSandbox runs the program again where containers can have networks of their own, when there are to be any.
func (o options) enterSandbox() (exitCode int, done bool) {
	if o.only != "" && o.only != groupInstances || o.backend == "process" || !hasRuntime() {
		return 0, false
	}
	return sandbox.Enter()
}

const groupInstances = "instances"

// group is what is measured together.
type group struct {
	name string
	// programs are those that it needs and that a machine may lack.
	programs []string
	// apart: it starts stacks of its own, and is given none.
	apart   bool
	measure func(context.Context, *stack.Stack) ([]benchmark.Row, error)
}

// groups are those that were asked for, in the order in which they are measured.
func (o options) groups() ([]group, error) {
	all := []group{
		{name: "temporal", measure: measureTemporal},
		{name: "push", measure: measurePush},
		{name: "files", programs: []string{tailProgram}, measure: func(ctx context.Context, s *stack.Stack) ([]benchmark.Row, error) {
			return measureFiles(ctx, s, o.quick)
		}},
		{name: "exec", measure: func(ctx context.Context, s *stack.Stack) ([]benchmark.Row, error) {
			return measureExec(ctx, s, execTimes(o.quick))
		}},
		{name: "staging", programs: handPrograms, measure: func(ctx context.Context, s *stack.Stack) ([]benchmark.Row, error) {
			return measureStaging(ctx, s, o.quick)
		}},
		{name: "routes", measure: func(ctx context.Context, s *stack.Stack) ([]benchmark.Row, error) {
			return measureRoutes(ctx, s, routeSizesOf(o.quick))
		}},
		{name: groupInstances, apart: true, measure: func(ctx context.Context, _ *stack.Stack) ([]benchmark.Row, error) {
			return measureInstances(ctx, o)
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
func run(ctx context.Context, o options) error {
	chosen, err := o.groups()
	if err != nil {
		return err
	}
	benchmark.WarnIfBusy()
	before := benchmark.CountTime()
	rows, err := measureAll(ctx, chosen)
	if err != nil {
		return err
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

// measureAll measures one group after the other. Those that share a stack come first, and it has ended before the others
// begin.
func measureAll(ctx context.Context, chosen []group) ([]benchmark.Row, error) {
	var together, rows []benchmark.Row
	isApart := func(g group) bool { return g.apart }
	if sharing := slices.DeleteFunc(slices.Clone(chosen), isApart); len(sharing) > 0 {
		var err error
		if together, err = measureTogether(ctx, sharing); err != nil {
			return nil, err
		}
	}
	for _, group := range chosen {
		if !group.apart {
			continue
		}
		measured, err := group.measure(ctx, nil)
		if err != nil {
			return nil, err
		}
		rows = append(rows, measured...)
	}
	return append(together, rows...), nil
}

// measureTogether measures groups on one stack.
func measureTogether(ctx context.Context, groups []group) (rows []benchmark.Row, failed error) {
	s, err := stack.Start(ctx, stack.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { failed = errors.Join(failed, s.Stop()) }()
	for _, group := range groups {
		measured, err := group.measure(ctx, s)
		if err != nil {
			return nil, err
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}
