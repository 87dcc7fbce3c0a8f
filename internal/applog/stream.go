package applog

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/durable-dea/dea/internal/cleantext"
)

// maxBehind is how far a reader may be behind the end of a file. The launcher moves a log aside at half of that: an app
// that has made more itself, which may be a hole, has its end read.
const maxBehind = 128 << 20

// stream reads one stream of an instance.
type stream struct {
	name string
	// log is the name of the file that is written to.
	log string
	// files are those that are still to be read, the older one first; at most two.
	files []*logFile
	// mark is how far lines were made, taken how far they were returned.
	mark, taken Mark
	lines       []madeLine
	skipped     int64
}

// madeLine is a record and where the stream goes on behind it.
type madeLine struct {
	Record
	end Mark
}

func newStream(name string, from Mark) *stream {
	if !from.valid() {
		from = Mark{}
	}
	return &stream{name: name, log: "logs/" + name + ".log", mark: from, taken: from}
}

func (s *stream) close() {
	closeFiles(s.files)
	s.files, s.lines, s.mark = nil, nil, s.taken
}

// changed tells whether a file is other than it was when it was read last.
func (s *stream) changed() bool {
	for _, f := range s.files {
		if f.changed() {
			return true
		}
	}
	return false
}

// take gives the next line away.
func (s *stream) take() Record {
	made := s.lines[0]
	s.lines = s.lines[1:]
	s.taken = made.end
	return made.Record
}

// chunks are for reading: a line and its end. Nothing is kept in them.
var chunks = sync.Pool{New: func() any { return new([MaxLine + 1]byte) }}

// fill makes the next lines when there are none, and tells whether there are any.
func (s *stream) fill(root *os.Root, now time.Time, over bool) bool {
	for len(s.lines) == 0 {
		f := s.current()
		if f == nil {
			return false
		}
		f.measure()
		s.rebase(f, root)
		s.read(f, now)
		if len(s.lines) > 0 {
			break
		}
		last := f == s.files[len(s.files)-1]
		if last && !over {
			return false
		}
		if record, ok := s.rest(now); ok {
			// What has no end here has it in the next file, if anywhere.
			record.Partial = !last
			s.make(record, s.mark.Offset+int64(len(record.Text)))
			break
		}
		if last {
			return false
		}
		s.goOn(root)
	}
	return true
}

// current is the file that is being read.
func (s *stream) current() *logFile {
	for _, f := range s.files {
		if f.inode == s.mark.File {
			return f
		}
	}
	return nil
}

// goOn leaves the older file for the next one.
func (s *stream) goOn(root *os.Root) {
	s.leave(1)
	s.mark = s.files[0].beginning(root, s.log)
	s.taken = s.mark
}

// rebase follows what the launcher says of a file that was emptied since, and jumps where there is too much to read.
func (s *stream) rebase(f *logFile, root *os.Root) {
	times := f.index(root, s.log)
	base := int64(unknownBase)
	if times != nil {
		base = times.Base
	}
	switch m := &s.mark; {
	case base == unknownBase || m.Base == unknownBase:
		if m.Offset > f.size { // it was emptied
			m.Offset = 0
		}
		m.Base = base
	case base != m.Base:
		at := m.Base + m.Offset - base
		if at < 0 {
			s.skip(-at)
		}
		*m = Mark{File: f.inode, Base: base, Offset: min(max(at, 0), f.size)}
	}
	if behind := f.size - s.mark.Offset; behind > maxBehind {
		s.skip(behind - maxBehind/2)
		s.mark.Offset = f.size - maxBehind/2
	}
}

// maxMade bounds how many lines are made at once: an app may write nothing but their ends, and a line takes far more memory.
const maxMade = 1024

// skip counts what is missing before the next record.
func (s *stream) skip(n int64) {
	if n == UnknownSkip || s.skipped == UnknownSkip {
		s.skipped = UnknownSkip
	} else {
		s.skipped += n
	}
}

// read makes lines of what comes next in a file.
func (s *stream) read(f *logFile, now time.Time) {
	chunk := chunks.Get().(*[MaxLine + 1]byte)
	defer chunks.Put(chunk)
	begin := s.mark.Offset
	text := f.read(chunk[:], begin)
	done := 0
	for len(s.lines) < maxMade {
		end := bytes.IndexByte(text[done:], '\n')
		if end < 0 {
			break
		}
		at := begin + int64(done+end)
		s.make(Record{Time: f.at(at, now), Text: string(text[done : done+end])}, at+1)
		done += end + 1
	}
	if done == 0 && len(text) > MaxLine {
		n := cleantext.Cut(text[:MaxLine])
		at := begin + int64(n)
		s.make(Record{Time: f.at(at-1, now), Text: string(text[:n]), Partial: true}, at)
	}
}

// rest is the line that has no end yet.
func (s *stream) rest(now time.Time) (Record, bool) {
	f := s.current()
	if f == nil || len(s.lines) > 0 {
		return Record{}, false
	}
	chunk := chunks.Get().(*[MaxLine + 1]byte)
	defer chunks.Put(chunk)
	text := f.read(chunk[:], s.mark.Offset)
	if len(text) == 0 || len(text) > MaxLine || bytes.IndexByte(text, '\n') >= 0 {
		return Record{}, false // there are lines to read before it
	}
	return Record{
		Time: f.at(s.mark.Offset+int64(len(text))-1, now), Stream: s.name, Text: string(text), Partial: true,
		Skipped: s.skipped,
	}, true
}

// make adds a line that ends before an offset of the file that is being read.
func (s *stream) make(record Record, end int64) {
	record.Stream, record.Skipped, s.skipped = s.name, s.skipped, 0
	if !record.Partial {
		record.Text = strings.TrimSuffix(record.Text, "\r")
	}
	s.mark.Offset = end
	s.lines = append(s.lines, madeLine{Record: record, end: s.mark})
}
