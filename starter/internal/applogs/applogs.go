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
	"github.com/durable-dea/dea/starter/internal/tail"
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
	found, _, err := r.readEnded(ctx, q, q.Lines, nil, m)
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
