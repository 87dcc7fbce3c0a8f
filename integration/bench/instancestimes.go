package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/benchmark"
)

// showStart tells a person where the time of a start went, the median of some.
func (b *instancesBench) showStart(ctx context.Context, of droplet, run appStart, count int) error {
	fmt.Fprintf(os.Stderr, "\nstart of the %s droplet (%s): %s ms, the median of %d\n", of.name, b.backend, millis(run.took()), count)
	return b.showWay(ctx, run.begun, run.running, run.app, run.instance)
}

// showWay tells a person what the workflows of an app and of an instance did from a moment to another.
func (b *instancesBench) showWay(ctx context.Context, from, to time.Time, app, instance string) error {
	spans, err := spansOf(ctx, b.Stack, api.AppWorkflowID(app))
	if err != nil {
		return err
	}
	for _, s := range spans {
		s.name = "app: " + s.name
	}
	lived, err := spansOf(ctx, b.Stack, api.InstanceWorkflowID(instance))
	if err != nil {
		return err
	}
	spans = append(append(spans, lived...), &span{name: "it is seen here", scheduled: to})
	slices.SortStableFunc(spans, func(a, b *span) int { return a.scheduled.Compare(b.scheduled) })
	table := tabwriter.NewWriter(os.Stderr, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "AT\tWAITED\tRAN\t  STEP")
	for _, s := range spans {
		if !s.scheduled.Before(from) && !s.scheduled.After(to) {
			s.show(table, from)
		}
	}
	return table.Flush()
}

// stage is what the steps of one name are among many instances.
type stage struct {
	waited, ran []time.Duration
	first, last time.Time
}

// showTogether tells a person where the time of many starts at once went: when the first of a step was wanted, when the last
// was over, and what the one in the middle waited for a worker, and took.
func (b *instancesBench) showTogether(ctx context.Context, run appStart) error {
	ids, err := b.workflowsOf(ctx, run.app, b.together)
	if err != nil {
		return err
	}
	stages := map[string]*stage{}
	for _, id := range ids {
		spans, err := spansOf(ctx, b.Stack, id)
		if err != nil {
			return err
		}
		kind, _, _ := strings.Cut(id, "/")
		for _, s := range spans {
			if !s.ended.IsZero() && !s.scheduled.After(run.running) {
				stages[kind+": "+s.name] = stages[kind+": "+s.name].with(s)
			}
		}
	}
	fmt.Fprintf(os.Stderr, "\n%d instances at once (%s): %s ms\n", b.together, b.backend, millis(run.took()))
	table := tabwriter.NewWriter(os.Stderr, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "FIRST AT\tLAST OVER\tCOUNT\tWAITED\tRAN\t  STEP")
	for _, name := range slices.SortedFunc(maps.Keys(stages), func(a, b string) int {
		return stages[a].first.Compare(stages[b].first)
	}) {
		s := stages[name]
		fmt.Fprintf(table, "%s\t%s\t%d\t%.1f\t%.1f\t  %s\n", millis(s.first.Sub(run.begun)), millis(s.last.Sub(run.begun)),
			len(s.ran), benchmark.Median(s.waited), benchmark.Median(s.ran), name)
	}
	return table.Flush()
}

func (s *stage) with(one *span) *stage {
	if s == nil {
		s = &stage{first: one.scheduled}
	}
	if one.scheduled.Before(s.first) {
		s.first = one.scheduled
	}
	if one.ended.After(s.last) {
		s.last = one.ended
	}
	s.waited, s.ran = append(s.waited, one.started.Sub(one.scheduled)), append(s.ran, one.ended.Sub(one.started))
	return s
}
