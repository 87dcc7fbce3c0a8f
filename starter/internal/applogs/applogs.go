// Package applogs shows what an app's instances wrote: the end of it, or all of it as it is written, also by instances
// that come later.
package applogs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/starter/internal/tail"
)

const (
	// lookAgain is how often new instances are looked for while following.
	lookAgain = time.Second
	// notYet is the pause before a file that is not there is asked for again, away before a node that does not answer
	// is.
	notYet = 200 * time.Millisecond
	away   = time.Second
)

// Streams of an instance.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Line is one line of an instance's.
type Line struct {
	Index    int    `json:"index"`
	Instance string `json:"instance"`
	Stream   string `json:"stream"`
	Text     string `json:"text"`
}

// Query says which lines are wanted.
type Query struct {
	App string
	// Index is an instance's number; negative for all of them.
	Index int
	// Streams are Stdout, Stderr or both.
	Streams []string
	// Lines is how many of each file's last lines are shown, at least 1.
	Lines int
}

// Reader reads the logs of apps. All fields are required.
type Reader struct {
	Controller *controller.Client
	Files      *tail.Client
	// Emit takes each line; it is never called twice at once.
	Emit func(Line)
	// Warn takes what could not be read.
	Warn func(string)

	mu sync.Mutex
}

// source is one file of one instance.
type source struct {
	instance api.InstanceStatus
	stream   string
}

func (s source) file() string {
	if s.stream == Stderr {
		return controller.StderrLog
	}
	return controller.StdoutLog
}

func (r *Reader) url(s source, follow bool) string {
	return r.Controller.FileURL(controller.InstanceFiles, s.instance.InstanceID, s.instance.FilesURL, s.file(), follow)
}

// Last shows the last lines of what there is, by index and stream. Fails with controller.ErrNoSuchInstance where the app
// has no instance of the wanted number; an app that has none at all is no failure, and told.
func (r *Reader) Last(ctx context.Context, q Query) error {
	status, err := r.Controller.App(ctx, q.App)
	if err != nil {
		return err
	}
	all := sources(status, q)
	if len(all) == 0 {
		return r.nothing(q)
	}
	for _, s := range all {
		if s.instance.FilesURL == "" { // it has no place yet
			r.warn(s, tail.ErrNotThere)
			continue
		}
		end, err := r.Files.Last(ctx, r.url(s, false), q.Lines)
		if errors.Is(err, tail.ErrUnreachable) && r.moved(ctx, &s) {
			end, err = r.Files.Last(ctx, r.url(s, false), q.Lines)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.warn(s, err)
			continue
		}
		for _, text := range end.All() {
			r.emit(s, text)
		}
	}
	return nil
}

// nothing tells that there is no instance to read from.
func (r *Reader) nothing(q Query) error {
	if q.Index < 0 {
		r.Warn(q.App + " has no instances now")
		return nil
	}
	return &controller.Error{
		Kind: controller.ErrNoSuchInstance, Words: fmt.Sprintf("%s has no instance %d now", q.App, q.Index),
		Next: "`starter ps " + q.App + "` lists those that it has",
	}
}

// moved asks where a source's node serves its files by now, since a worker that was started again may serve them
// elsewhere, and tells whether that is another place than the one known.
func (r *Reader) moved(ctx context.Context, s *source) bool {
	now := r.Controller.CurrentFilesURL(ctx, s.instance.Node, s.instance.FilesURL)
	if now == s.instance.FilesURL {
		return false
	}
	s.instance.FilesURL = now
	return true
}

// Follow shows the last lines of what there is and then what is written, until ctx ends or the app is gone, which is no
// failure.
func (r *Reader) Follow(ctx context.Context, q Query) error {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followed := map[string]bool{}
	for first := true; ; first = false {
		status, err := r.Controller.App(ctx, q.App)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case first && err != nil:
			return err
		case errors.Is(err, controller.ErrNoSuchApp):
			group.Wait() // the last words: a file ends with its instance
			return nil
		}
		// Another look mends any other error.
		for _, s := range sources(status, q) {
			key := s.instance.InstanceID + s.stream
			if followed[key] || s.instance.FilesURL == "" {
				continue
			}
			followed[key] = true
			group.Go(func() { r.follow(ctx, s, q.Lines) })
		}
		if !pause.For(ctx, lookAgain) {
			return ctx.Err()
		}
	}
}

// follow shows one file until its instance is gone, through restarts of its node's worker.
func (r *Reader) follow(ctx context.Context, s source, lines int) {
	begun, from, told := false, int64(0), false
	for ctx.Err() == nil {
		var err error
		if !begun {
			from, err = r.begin(ctx, s, lines)
			begun = err == nil
		}
		if err == nil {
			from, err = r.Files.Follow(ctx, func() string { return r.url(s, true) }, from, func(text string) { r.emit(s, text) })
		}
		wait := notYet
		switch {
		case err == nil || ctx.Err() != nil:
			return
		case errors.Is(err, tail.ErrUnreachable):
			if !told {
				r.warn(s, err)
			}
			told, wait = true, away
			r.moved(ctx, &s)
		case !errors.Is(err, tail.ErrNotThere):
			r.warn(s, err)
			return
		}
		now, err := r.Controller.Instance(ctx, s.instance.InstanceID)
		if errors.Is(err, controller.ErrNoSuchInstance) || err == nil && now.State.Ended() {
			return
		}
		if !pause.For(ctx, wait) {
			return
		}
	}
}

// begin shows the last lines of a file, and tells where to follow from.
func (r *Reader) begin(ctx context.Context, s source, lines int) (int64, error) {
	end, err := r.Files.Last(ctx, r.url(s, false), lines)
	for _, text := range end.Lines {
		r.emit(s, text)
	}
	return end.Offset, err
}

// sources lists the files that a query means, by index and stream.
func sources(status api.AppStatus, q Query) []source {
	instances := slices.Clone(status.Instances)
	slices.SortStableFunc(instances, func(a, b api.InstanceStatus) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), a.Since.Compare(b.Since))
	})
	var all []source
	for _, i := range instances {
		if q.Index >= 0 && i.Index != q.Index {
			continue
		}
		for _, stream := range q.Streams {
			all = append(all, source{i, stream})
		}
	}
	return all
}

func (r *Reader) emit(s source, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Emit(Line{Index: s.instance.Index, Instance: s.instance.InstanceID, Stream: s.stream, Text: text})
}

func (r *Reader) warn(s source, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(err, tail.ErrNotThere) {
		err = errors.New("there is none (yet, or any longer)")
	}
	r.Warn(s.stream + " of instance " + s.instance.InstanceID + ": " + err.Error())
}
