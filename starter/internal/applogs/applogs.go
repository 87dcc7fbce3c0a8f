// Package applogs shows what an app's instances wrote, all of them in the order of time: of those that run, wherever they
// do, and of those that crashed, for as long as their nodes keep it.
//
//	node 1: instance 0 --+
//	        a crash -----+--> held for a moment, in order --> lines
//	node 2: instance 1 --+
package applogs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/starter/internal/tail"
)

const (
	// lookAgain is how often new instances are looked for while following; each lookWide-th time those that the app's
	// workflow does not know are, too.
	lookAgain = time.Second
	lookWide  = 5
	// flushEvery is how often what was held long enough is shown.
	flushEvery = 100 * time.Millisecond
	// firstPatience is for how long the first lines of all instances are waited for.
	firstPatience = 5 * time.Second
)

// Streams of an instance.
const (
	Stdout = applog.Stdout
	Stderr = applog.Stderr
)

// Line is one line of an instance's.
type Line struct {
	// Time is when the instance's node read it.
	Time     time.Time `json:"time"`
	App      string    `json:"app"`
	Index    int       `json:"index"`
	Instance string    `json:"instance"`
	Stream   string    `json:"stream"`
	// Text is as it was written, whatever the bytes.
	Text string `json:"text"`
}

// Query says which lines are wanted.
type Query struct {
	App string
	// Index is an instance's number; negative for all of them.
	Index int
	// Streams are Stdout, Stderr or both.
	Streams []string
	// Lines is how many of the last lines are shown, from 1 to controller.MaxLogLines.
	Lines int
	// Since is when they were written at the earliest; zero for any time.
	Since time.Time
}

// Reader reads the logs of apps. All fields are required.
type Reader struct {
	Controller *controller.Client
	Files      *tail.Client
	// Emit takes each line; it is never called twice at once.
	Emit func(Line)
	// Warn takes what could not be read; it is never called twice at once.
	Warn func(string)

	mu sync.Mutex
}

// Last shows the last lines of what there is. It fails with controller.ErrNoSuchInstance where the app has no instance of
// the wanted number, and none that crashed whose logs are kept; an app that has none at all is no failure, and told.
func (r *Reader) Last(ctx context.Context, q Query) error {
	m := newMerger(r.emit, q.Lines)
	found, err := r.readEnded(ctx, q, m)
	if err != nil {
		return err
	}
	living, err := r.find(ctx, q)
	if err != nil && !known(err, found) {
		return err
	}
	if len(living) == 0 && len(found) == 0 {
		return r.nothing(q)
	}
	var group sync.WaitGroup
	for _, s := range living {
		if found[s.id] {
			continue
		}
		group.Go(func() { r.last(ctx, q, s, m) })
	}
	group.Wait()
	m.begin()
	return ctx.Err()
}

// known tells whether an app that is not there is known all the same, by crashes that are kept of it.
func known(err error, crashes map[string]bool) bool {
	return errors.Is(err, controller.ErrNoSuchApp) && len(crashes) > 0
}

// nothing tells that there is no instance to read from.
func (r *Reader) nothing(q Query) error {
	if q.Index < 0 {
		r.warn(q.App + " has no instances now, and no crash of it is kept")
		return nil
	}
	return &controller.Error{
		Kind: controller.ErrNoSuchInstance, Words: fmt.Sprintf("%s has no instance %d now", q.App, q.Index),
		Next: "`starter ps " + q.App + "` lists those that it has",
	}
}

// Follow shows the last lines of what there is and then what is written, until ctx ends or the app is gone, which is no
// failure.
func (r *Reader) Follow(ctx context.Context, q Query) error {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newMerger(r.emit, q.Lines)
	defer m.flush(time.Time{})
	found, err := r.readEnded(ctx, q, m)
	if err != nil {
		return err
	}
	f := follower{reader: r, q: q, merger: m, group: &group, followed: found}
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
	// followed are the instances that were begun with, and those that were read already.
	followed map[string]bool
}

// first begins with the instances that there are, and shows the last lines of them all.
func (f *follower) first(ctx context.Context) error {
	living, err := f.reader.find(ctx, f.q)
	if err != nil {
		return err
	}
	ready := f.begin(ctx, living)
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

// begin follows those that are new, and gives for each what is closed when its first lines are there.
func (f *follower) begin(ctx context.Context, all []source) (ready []<-chan struct{}) {
	for _, s := range all {
		if f.followed[s.id] || s.base == "" {
			continue
		}
		f.followed[s.id] = true
		begun := make(chan struct{})
		ready = append(ready, begun)
		f.group.Go(func() { f.reader.follow(ctx, f.q, s, f.merger, begun) })
	}
	return ready
}

// goOn shows what is written, also by instances that come later, until the app is gone.
func (f *follower) goOn(ctx context.Context) error {
	f.merger.begin()
	looked := time.Now()
	for looks := 1; ; {
		if !pause.For(ctx, flushEvery) {
			return ctx.Err()
		}
		f.merger.flush(time.Now())
		if time.Since(looked) < lookAgain {
			continue
		}
		looked = time.Now()
		find := f.reader.findKnown
		if looks++; looks%lookWide == 0 {
			find = f.reader.find
		}
		living, err := find(ctx, f.q)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, controller.ErrNoSuchApp) {
			f.group.Wait() // the last words: a log ends with its instance
			return nil
		}
		f.begin(ctx, living) // another look mends any other error
	}
}

func (r *Reader) emit(line Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Emit(line)
}

func (r *Reader) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Warn(text)
}
