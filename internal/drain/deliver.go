package drain

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/syslog"
)

// deliver sends records, which are all before what the reader reads next, and what is to be said before them. Where it
// cannot, they are read again.
func (f *follower) deliver(ctx context.Context, records []applog.Record) {
	if !f.connect(ctx) {
		return
	}
	oldest := time.Now().Add(-f.maxAge)
	for _, r := range records {
		f.unsaid.skipped(r.Skipped)
		if r.Time.Before(oldest) {
			f.unsaid.Lines++
			continue
		}
		m := syslog.Message{Time: r.Time, Severity: syslog.Info, Text: r.Text}
		if r.Stream == applog.Stderr {
			m.Severity = syslog.Err
		}
		err := f.sayLoss(ctx)
		if err == nil {
			err = f.write(ctx, f.words, m)
		}
		if err != nil {
			f.broke(ctx, err)
			return
		}
		f.counted.lines++
	}
	f.conclude(ctx, records[len(records)-1].Next)
}

// flush says to the drain what was lost, where no line has come to say it before; false when it has something to say and
// cannot.
func (f *follower) flush(ctx context.Context) bool {
	if f.unsaid == (loss{}) {
		return true
	}
	if !f.connect(ctx) {
		return false
	}
	if err := f.sayLoss(ctx); err != nil {
		f.broke(ctx, err)
		return false
	}
	return f.conclude(ctx, f.reader.Position())
}

// conclude ends a batch, with which the drain comes to a position; false where it cannot be sent.
func (f *follower) conclude(ctx context.Context, to applog.Position) bool {
	if err := f.sendBuffer(ctx); err != nil {
		f.broke(ctx, err)
		return false
	}
	f.sent.add(batch{
		written: f.connection.written(), at: time.Now(), reached: progress{Position: to, Unsaid: f.unsaid},
		counts: f.counted,
	})
	f.counted = counts{}
	return true
}

// connect is false when there is no connection.
func (f *follower) connect(ctx context.Context) bool {
	if f.connection != nil {
		return true
	}
	connection, err := f.dialer.dial(ctx, f.address)
	if err != nil {
		f.broke(ctx, err)
		return false
	}
	f.connection = connection
	return true
}

// sayLoss writes what was lost before the next line.
func (f *follower) sayLoss(ctx context.Context) error {
	if f.unsaid == (loss{}) {
		return nil
	}
	m := syslog.Message{Time: time.Now(), Severity: syslog.Err, Text: f.unsaid.words(f.maxAge)}
	if err := f.write(ctx, f.own, m); err != nil {
		return err
	}
	f.counted.lost.add(f.unsaid)
	f.unsaid = loss{}
	return nil
}

func (l loss) words(maxAge time.Duration) string {
	var parts []string
	if l.Lines > 0 {
		parts = append(parts, fmt.Sprintf("%d lines waited for longer than %s", l.Lines, maxAge))
	}
	switch {
	case l.Some:
		parts = append(parts, "what the log no longer has")
	case l.Bytes > 0:
		parts = append(parts, fmt.Sprintf("%d bytes that the log no longer has", l.Bytes))
	}
	return "[dea] lost on the way to this drain: " + strings.Join(parts, ", and ")
}

// write puts a message into the buffer, and sends that when it is large. Over UDP each is sent by itself.
func (f *follower) write(ctx context.Context, w *syslog.Writer, m syslog.Message) error {
	if f.address.Scheme == syslog.UDP {
		f.buffer = w.AppendDatagram(f.buffer[:0], m)
		return f.sendBuffer(ctx)
	}
	if f.buffer = w.AppendFrames(f.buffer, m); len(f.buffer) < writeSize {
		return nil
	}
	return f.sendBuffer(ctx)
}

func (f *follower) sendBuffer(ctx context.Context) error {
	err := f.connection.send(ctx, f.buffer)
	f.buffer = f.buffer[:0]
	return err
}
