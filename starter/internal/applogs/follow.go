package applogs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/pause"
)

const (
	// lookAgain is how often new instances are looked for while following; each lookWide-th time those that the app's
	// workflow does not know are, too, and those that have ended before any look saw them.
	lookAgain = time.Second
	lookWide  = 5
	// flushEvery is how often what was held long enough is shown.
	flushEvery = 100 * time.Millisecond
	// firstPatience is for how long the first lines of all instances are waited for.
	firstPatience = 5 * time.Second
	// unseenLines is how many lines, at least, are shown of an instance that may have ended just before the beginning.
	unseenLines = 100
)

// Follow shows the last lines of what there is and then what is written, until ctx ends or the app is gone, which is no
// failure. Of an instance that comes later it shows all lines, also of one that has crashed before it was seen, if its node
// has kept them. Where there is nothing to read yet, that is told.
func (r *Reader) Follow(ctx context.Context, q Query) error {
	m := newMerger(r.emit, q.Lines)
	defer m.flush(time.Time{})
	var group, flusher sync.WaitGroup
	defer flusher.Wait()
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// By itself, so that no line waits for a question that takes long to be answered.
	flusher.Go(func() {
		for pause.For(ctx, flushEvery) {
			m.flush(time.Now())
		}
	})
	found, over, err := r.readEnded(ctx, q, q.Lines, nil, m)
	if err != nil {
		return err
	}
	f := follower{reader: r, q: q, merger: m, group: &group, followed: found, over: over}
	if err := f.first(ctx); err != nil && !known(err, found) {
		return err
	}
	return f.goOn(ctx)
}

// follower follows the instances of one app.
type follower struct {
	reader *Reader
	q      Query
	merger *merger
	group  *sync.WaitGroup
	// followed are the instances that were begun with, and those that were read already; over those that have ended and of
	// which nothing more can be had.
	followed, over map[string]bool
}

// first begins with the instances that there are, and shows the last lines of them all.
func (f *follower) first(ctx context.Context) error {
	living, err := f.reader.find(ctx, f.q)
	if err != nil {
		return err
	}
	if len(living) == 0 && len(f.followed) == 0 {
		f.tellNothing()
	}
	ready := f.begin(ctx, living, f.q.Lines)
	patience, cancel := context.WithTimeout(ctx, firstPatience)
	defer cancel()
	for _, one := range ready {
		select {
		case <-one:
		case <-patience.Done():
		}
	}
	f.merger.begin()
	return nil
}

// tellNothing tells that what is waited for may never come.
func (f *follower) tellNothing() {
	which := "instances"
	if f.q.Index >= 0 {
		which = fmt.Sprintf("instance %d", f.q.Index)
	}
	f.reader.warn(fmt.Sprintf("%s has no %s now: waiting", f.q.App, which))
}

// begin follows those that are new from their last lines on, and gives for each what is closed when those are there.
func (f *follower) begin(ctx context.Context, all []source, lines int) (ready []<-chan struct{}) {
	for _, s := range all {
		if f.followed[s.id] || s.base == "" {
			continue
		}
		f.followed[s.id] = true
		begun := make(chan struct{})
		ready = append(ready, begun)
		wanted := f.q.wanted(lines)
		wanted.Follow = true
		f.group.Go(func() { f.reader.follow(ctx, f.q, s, wanted, f.merger, begun) })
	}
	return ready
}

// goOn follows instances that come later, until the app is gone.
func (f *follower) goOn(ctx context.Context) error {
	f.merger.begin()
	for looks := 2; pause.For(ctx, lookAgain); looks++ {
		living, err := f.look(ctx, looks)
		if errors.Is(err, controller.ErrNoSuchApp) {
			f.group.Wait() // the last words: a log ends with its instance
			break
		}
		f.begin(ctx, living, controller.MaxLogLines) // all that they have said; another look mends any other error
	}
	return ctx.Err()
}

// look finds the instances that there are. It fails with controller.ErrNoSuchApp when there are none of an app that is not
// known: one that is not may have instances that were started by themselves.
func (f *follower) look(ctx context.Context, looks int) ([]source, error) {
	wide := looks%lookWide == 0
	if wide {
		f.lookBack(ctx, looks == lookWide)
	} else if living, err := f.reader.findKnown(ctx, f.q); !errors.Is(err, controller.ErrNoSuchApp) {
		return living, err
	}
	return f.reader.find(ctx, f.q)
}

// lookBack shows what is kept of instances that came and crashed between two looks. Those that are seen for the first time
// on the first look back may have ended before the beginning, since visibility is late.
func (f *follower) lookBack(ctx context.Context, first bool) {
	lines := controller.MaxLogLines
	if first {
		lines = max(f.q.Lines, unseenLines)
	}
	seen := func(id string) bool { return f.followed[id] || f.over[id] }
	found, over, err := f.reader.readEnded(ctx, f.q, lines, seen, f.merger)
	if err != nil {
		return // the next look back finds the same
	}
	maps.Copy(f.followed, found)
	maps.Copy(f.over, over)
}
