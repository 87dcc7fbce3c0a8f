package applog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/durable-dea/dea/internal/regular"
)

const (
	// MaxRead is how many bytes of text one Read returns, or less than a line more. A node has a thousand readers.
	MaxRead = 128 << 10
	// lookEvery is how often names are looked at although no file has changed.
	lookEvery = 2 * time.Second
)

// Place is where an instance's logs are.
type Place struct {
	// Open opens the directory that has logs/, the same one each time for as long as it is there; fs.ErrNotExist says that it
	// is not, or no longer.
	Open func() (*os.Root, error)
	// Over says that nobody writes there any more: the logs end where the files do.
	Over bool
}

// Reader reads the logs of one instance. It is for one goroutine at a time. Close it.
type Reader struct {
	place   Place
	now     func() time.Time
	root    *os.Root
	streams [2]*stream
	// wanted are those of the streams that are read.
	wanted []*stream
	// looked is when names were looked at last; zero before the first time.
	looked time.Time
	// over: nothing more will be written.
	over bool
	// more: the last Read ended before the files did.
	more bool
}

// New makes a reader that goes on from a position; the zero Position is the beginning of what there is. It opens nothing yet.
func New(place Place, from Position) *Reader {
	r := &Reader{place: place, now: time.Now}
	r.streams = [2]*stream{newStream(Stdout, from.Stdout), newStream(Stderr, from.Stderr)}
	r.wanted = r.streams[:]
	return r
}

// Only has the reader, which has read nothing yet, leave out the other stream, as if nothing were written there.
func (r *Reader) Only(name string) {
	r.wanted = slices.DeleteFunc(slices.Clone(r.wanted), func(s *stream) bool { return s.name != name })
}

// Close closes all files. Position still holds.
func (r *Reader) Close() {
	for _, s := range r.streams {
		s.close()
	}
	if r.root != nil {
		_ = r.root.Close()
		r.root = nil
	}
	r.looked = time.Time{}
}

// Position is behind the last record that was returned.
func (r *Reader) Position() Position {
	return Position{Stdout: r.streams[0].taken, Stderr: r.streams[1].taken}
}

// Changed tells whether a Read may return anything, io.EOF included. It costs a few fstats, and is true every two seconds in any case.
func (r *Reader) Changed() bool {
	if r.more || r.over || r.looked.IsZero() || r.now().Sub(r.looked) >= lookEvery {
		return true
	}
	for _, s := range r.wanted {
		if len(s.lines) > 0 || s.changed() {
			return true
		}
	}
	return false
}

// Read returns the next records, at most so many and about MaxRead bytes of text, in the order of time; none when there are none yet.
// It does not wait. When all was read of logs to which nobody writes any more, it returns io.EOF. It fails, and may be tried
// again, where the directory cannot be opened: with fs.ErrNotExist where it is not there and never was.
func (r *Reader) Read(most int) ([]Record, error) {
	if !r.more {
		if err := r.look(); err != nil {
			return nil, err
		}
	}
	var records []Record
	for size := 0; len(records) < most && size < MaxRead; {
		next := r.next()
		if next == nil {
			r.more = false
			if len(records) == 0 && r.over {
				return nil, io.EOF
			}
			return records, nil
		}
		record := next.take()
		record.Next = r.Position()
		records = append(records, record)
		size += len(record.Text)
	}
	r.more = true
	return records, nil
}

// Rest returns what has no line's end yet, for whoever will not read on: the parts come again, with the rest of their
// lines, from a later Read.
func (r *Reader) Rest() []Record {
	var records []Record
	for _, s := range r.wanted {
		if record, ok := s.rest(r.now()); ok {
			records = append(records, record)
		}
	}
	return records
}

// next is the stream whose next line is the earliest; nil when none has any.
func (r *Reader) next() *stream {
	var first *stream
	for _, s := range r.wanted {
		if s.fill(r.root, r.now(), r.over) && (first == nil || s.lines[0].Time.Before(first.lines[0].Time)) {
			first = s
		}
	}
	return first
}

// look sees what the names mean now, and whether the directory is still there. It comes before what is read, so that all
// that was written until the directory went is.
func (r *Reader) look() error {
	root, err := r.place.Open()
	switch {
	case err != nil && r.root != nil && errors.Is(err, fs.ErrNotExist):
		r.over = true
	case err != nil:
		return fmt.Errorf("open an instance's directory: %w", err)
	case r.root == nil:
		r.root, r.over = root, r.place.Over
	default:
		r.over = r.place.Over || !regular.SameDirectory(r.root, root)
		_ = root.Close()
	}
	r.looked = r.now()
	if r.over && !r.place.Over {
		return nil // what is open is all that there will be
	}
	for _, s := range r.wanted {
		s.look(r.root)
	}
	return nil
}
