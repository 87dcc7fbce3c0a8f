package applogs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/starter/internal/tail"
)

const (
	// notYet is the first pause before logs that are not there are asked for again, away the longest, and the one before a
	// node that does not answer is.
	notYet = 200 * time.Millisecond
	away   = time.Second
)

// wanted asks an instance's node for the last lines.
func (q Query) wanted(lines int) controller.LogsQuery {
	wanted := controller.LogsQuery{Lines: lines, Since: q.Since}
	if len(q.Streams) == 1 {
		wanted.Stream = q.Streams[0]
	}
	return wanted
}

// last collects the last lines of an instance.
func (r *Reader) last(ctx context.Context, q Query, s source, m *merger) {
	if s.base == "" { // it has no place yet
		r.warnOf(s, tail.ErrNotThere)
		return
	}
	wanted, given := q.wanted(q.Lines), false
	add := func(line Line) {
		given = true
		m.add(line)
	}
	err := r.read(ctx, q, s, wanted, add)
	if errors.Is(err, tail.ErrUnreachable) && !given && r.moved(ctx, &s) {
		err = r.read(ctx, q, s, wanted, add)
	}
	if s.ended && errors.Is(err, tail.ErrNotThere) {
		return // nothing is kept of it
	}
	if err != nil && ctx.Err() == nil {
		r.warnOf(s, err)
	}
}

// follow takes an instance's lines until it is gone, through restarts of its node's worker. It closes begun when the first
// are there, or there is no use in waiting for them.
func (r *Reader) follow(
	ctx context.Context, q Query, s source, wanted controller.LogsQuery, m *merger, begun chan<- struct{},
) {
	ready := func() {
		if begun != nil {
			close(begun)
			begun = nil
		}
	}
	defer ready()
	absence := notYet
	for told, last := false, false; ctx.Err() == nil; {
		err := r.each(ctx, q, s, wanted, m.add, func(position json.RawMessage) {
			wanted.From, told = position, false // when it does not answer again, that is news
			ready()
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		ready()
		wait, moved := away, false
		switch {
		case errors.Is(err, tail.ErrUnreachable):
			if !told {
				r.warnOf(s, err)
			}
			told = true
			moved = r.moved(ctx, &s)
		case errors.Is(err, tail.ErrNotThere):
			wait, absence = absence, min(2*absence, away)
			wanted.Lines = controller.MaxLogLines // all that it says is new, if it is yet to come
		default:
			r.warnOf(s, err)
			return
		}
		if last && !moved {
			return
		}
		// Of one that has ended there may be what its node has kept since.
		now, err := r.Controller.Instance(ctx, s.id)
		last = errors.Is(err, controller.ErrNoSuchInstance) || err == nil && now.State.Ended()
		if !pause.For(ctx, wait) {
			return
		}
	}
}

// read reads what is wanted to its end.
func (r *Reader) read(ctx context.Context, q Query, s source, wanted controller.LogsQuery, add func(Line)) error {
	return r.each(ctx, q, s, wanted, add, func(json.RawMessage) {})
}

// each reads one answer. Lines that come before a position and after which the answer breaks off come again when it is gone
// on from the position before; so they are given only when the next position, or the end, is there.
func (r *Reader) each(
	ctx context.Context, q Query, s source, wanted controller.LogsQuery, add func(Line), at func(json.RawMessage),
) error {
	answer, err := r.Files.Answer(ctx, r.Controller.LogsURL(s.id, s.base, wanted))
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	var batch []applog.Record
	for d := applog.NewDecoder(answer); ; {
		event, err := d.Next()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, io.EOF):
			return tail.ErrUnreachable // the cause may have the URL
		case err == nil && event.Position == nil:
			if slices.Contains(q.Streams, event.Record.Stream) {
				batch = append(batch, event.Record)
			}
			continue
		}
		for _, record := range batch {
			r.tellSkipped(s, record)
			add(s.line(record))
		}
		batch = batch[:0]
		if err != nil {
			return nil
		}
		position, err := json.Marshal(event.Position)
		if err != nil {
			return fmt.Errorf("read a log's position: %w", err)
		}
		at(position)
	}
}

func (s source) line(record applog.Record) Line {
	return Line{
		Time: record.Time, App: s.app, Index: s.index, Instance: s.id, Stream: record.Stream, Text: record.Text,
	}
}

func (r *Reader) tellSkipped(s source, record applog.Record) {
	switch {
	case record.Skipped > 0:
		r.warn(fmt.Sprintf("%d bytes of %s of instance %s are missing: more was written than is kept", record.Skipped, record.Stream, s.id))
	case record.Skipped < 0:
		r.warn(fmt.Sprintf("some of %s of instance %s is missing: more was written than is kept", record.Stream, s.id))
	}
}
