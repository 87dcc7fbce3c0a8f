package drain

import (
	"time"

	"github.com/durable-dea/dea/internal/applog"
)

// settleTime is how long a connection must stay whole after something was acknowledged for that to count as taken: an end
// that dies has mostly read what came longer ago.
const settleTime = 2 * time.Second

// maxUnsettled bounds how many batches are waited for. Of those beyond, only the last counts once they are taken.
const maxUnsettled = 4096

// progress is how far a drain has come.
type progress struct {
	Position applog.Position `json:"position"`
	// Unsaid is lost before Position and not said to the drain.
	Unsaid loss `json:"unsaid,omitzero"`
}

// loss is what a drain does not get.
type loss struct {
	// Lines waited too long.
	Lines int64 `json:"lines,omitempty"`
	// Bytes left the log before they could be sent; Some, where nobody knows how many.
	Bytes int64 `json:"bytes,omitempty"`
	Some  bool  `json:"some,omitempty"`
}

// skipped adds what an applog.Record says is missing before it.
func (l *loss) skipped(n int64) {
	if n == applog.UnknownSkip {
		l.Some = true
		return
	}
	l.Bytes += n
}

func (l *loss) add(other loss) {
	l.Lines += other.Lines
	l.Bytes += other.Bytes
	l.Some = l.Some || other.Some
}

// batch is what was written at once.
type batch struct {
	// written is the connection's count when all of it was, at when that was.
	written int64
	at      time.Time
	// reached is how far the drain has come with it.
	reached progress
	counts  counts
}

// counts go into Totals once their batch was taken.
type counts struct {
	lines int64
	lost  loss
}

// sent are the batches that may be needed again. It is empty for a new connection.
type sent struct{ batches []batch }

// add takes note of a batch.
func (s *sent) add(b batch) {
	if last := len(s.batches) - 1; last >= maxUnsettled {
		b.counts.lines += s.batches[last].counts.lines
		b.counts.lost.add(s.batches[last].counts.lost)
		s.batches[last] = b
		return
	}
	s.batches = append(s.batches, b)
}

// settle forgets the batches of which all was taken, and that were written by a time, and gives them to each.
func (s *sent) settle(taken int64, by time.Time, each func(batch)) {
	n := 0
	for n < len(s.batches) && s.batches[n].written <= taken && !s.batches[n].at.After(by) {
		each(s.batches[n])
		n++
	}
	s.batches = append(s.batches[:0], s.batches[n:]...)
}

// between adds what is between two positions.
func (l *loss) between(from, to applog.Position) {
	l.passed(from.Stdout, to.Stdout)
	l.passed(from.Stderr, to.Stderr)
}

// passed adds what is between two places of a stream.
func (l *loss) passed(from, to applog.Mark) {
	switch {
	case from.File == to.File && from.Base == to.Base:
		l.Bytes += max(to.Offset-from.Offset, 0)
	case from.Base < 0 || to.Base < 0:
		l.Some = true
	default:
		l.Bytes += max(to.Base+to.Offset-from.Base-from.Offset, 0)
	}
}
