package launch

import (
	"errors"
	"os"
	"time"

	"github.com/durable-dea/dea/internal/logtimes"
)

const (
	// markEvery is between two entries at least: so times cost an app that says much next to nothing.
	markEvery = time.Millisecond
	// maxTimes bounds the times of a log file. A log is moved aside, at the end of a line, when its times are as large.
	maxTimes = maxLog / 4
	// timesSlack is for how much more such an end is waited.
	timesSlack = 4 << 10
)

// times says when the bytes of a log file came; see package logtimes. What cannot be written is tried again at the next
// entry: an app that can run is worth more than its log, and its log more than the log's times. It is for one goroutine.
type times struct {
	path string
	file *os.File
	// size is as much of the file as is whole.
	size int64
	// marked is when the last entry was made; zero before the first one of a log file.
	marked time.Time
	buffer []byte
}

// due tells whether bytes that come now need an entry of their own.
func (t *times) due(now time.Time) bool {
	passed := now.Sub(t.marked)
	return passed >= markEvery || passed < 0 // a clock was set back
}

// restart has the file, which is emptied, be that of another log file, or of one that was emptied itself. The header comes
// with the next entry, so that a log of which nothing is said has no times.
func (t *times) restart() {
	t.size, t.marked = 0, time.Time{}
	if t.file != nil {
		_ = t.file.Truncate(0)
	}
}

// mark says that what is written to the log at an offset from now on came now.
func (t *times) mark(header logtimes.Header, offset int64, now time.Time) {
	if t.file == nil && t.open() != nil {
		return
	}
	t.buffer = t.buffer[:0]
	if t.size == 0 {
		t.buffer = header.Append(t.buffer)
	}
	t.buffer = logtimes.Entry{Offset: offset, At: now.UnixNano()}.Append(t.buffer)
	// At its place, and not at the end: what was written in part is written over.
	if n, err := t.file.WriteAt(t.buffer, t.size); err == nil {
		t.size += int64(n)
		t.marked = now
	}
}

// open makes the file, empty.
func (t *times) open() error {
	file, _, err := openRegular(t.path, 0)
	if err != nil {
		return err
	}
	if err := file.Truncate(0); err != nil {
		return errors.Join(err, file.Close())
	}
	t.file, t.size = file, 0
	return nil
}

// moveAside leaves no file, as the log's does. The earlier one is gone in any case: it is that of a log that goes.
func (t *times) moveAside() {
	_ = t.close()
	aside := t.path + logtimes.RotatedSuffix
	if os.Rename(t.path, aside) != nil {
		_ = os.Remove(aside)
	}
}

func (t *times) close() error {
	t.size, t.marked = 0, time.Time{}
	if t.file == nil {
		return nil
	}
	err := t.file.Close()
	t.file = nil
	return err
}
