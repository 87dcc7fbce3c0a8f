package drain

import (
	"errors"
	"io/fs"
	"time"

	"github.com/durable-dea/dea/internal/applog"
)

// errOver ends a follower for whose instance there is no more time.
var errOver = errors.New("the instance has ended")

// end has the reader read to where the files end.
func (f *follower) end() {
	f.over = true
	f.poll, f.retry = 0, 0
	f.place.Over = true
	f.rewind(f.reader.Position())
}

// skipToLast leaves out all but the last lines.
func (f *follower) skipToLast() error {
	before := f.reader.Position()
	if _, err := f.reader.SeekRecent(lastWords); err != nil {
		return err
	}
	f.unsaid.between(before, f.reader.Position())
	f.hurried = true
	return nil
}

// isGone tells whether a directory that cannot be opened will never be there. One of a container that is being made comes
// soon.
func (f *follower) isGone(err error) bool {
	if f.absent.IsZero() {
		f.absent = time.Now()
	}
	return errors.Is(err, fs.ErrNotExist) && (f.over || time.Since(f.absent) > absence)
}

// abandon counts what the drain does not get any more, and is done with it. Of a log that is gone itself that is what was read
// of it.
func (f *follower) abandon() {
	f.place.Over = true
	f.rewind(f.taken.Position)
	end, lost := f.taken.Position, f.taken.Unsaid
	if f.gone && f.seen != (applog.Position{}) {
		end = f.seen
	}
	if last, err := f.reader.Recent(1); err == nil && len(last) > 0 {
		end = last[0].Next
	}
	lost.between(f.taken.Position, end)
	f.begin(progress{Position: end})
	if lost == (loss{}) {
		return
	}
	f.totals.add(counts{lost: lost})
	words := "an instance has ended before its syslog drain took all its lines"
	if f.gone {
		words = "an instance is gone with lines that its syslog drain has not taken, and maybe with more than are counted"
	}
	f.log.Warn(words, "lines", lost.Lines, "bytes", lost.Bytes)
}
