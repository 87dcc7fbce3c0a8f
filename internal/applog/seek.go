package applog

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// maxScan bounds how much of each stream's end is looked through for its last lines.
const maxScan = 16 << 20

// Since goes to the first line that came at a time or later. It fails as Read does.
func (r *Reader) Since(from time.Time) error {
	if err := r.look(); err != nil {
		return err
	}
	for _, s := range r.wanted {
		s.since(r, from)
	}
	return nil
}

// batch is how many records are made at once where many are read.
const batch = 1000

// SeekRecent goes to before the last n records of what there is, and returns how many they are: fewer where there are no
// more, or they are very long. It fails as Read does, but for logs that are over. Nothing is kept of what is read to count
// them, so that who wants many has no more of them in memory than a Read returns.
func (r *Reader) SeekRecent(n int) (count int, err error) {
	if err := r.look(); err != nil {
		return 0, err
	}
	for _, s := range r.wanted {
		s.last(n)
	}
	from := r.Position()
	for left := r.Ahead(); left > 0; {
		records, err := r.readOn(batch)
		if err != nil {
			return 0, err
		}
		if len(records) == 0 {
			break
		}
		left -= Size(records)
		count += len(records)
	}
	if err := r.seek(from); err != nil {
		return 0, err
	}
	for ; count > n; count-- { // of each stream there may be as many
		if records, err := r.readOn(1); err != nil || len(records) == 0 {
			return 0, err
		}
	}
	return count, nil
}

// Recent goes on to where the logs end now, and returns the last n records before: see SeekRecent.
func (r *Reader) Recent(n int) ([]Record, error) {
	left, err := r.SeekRecent(n)
	if err != nil {
		return nil, err
	}
	var all []Record
	for left > 0 {
		records, err := r.readOn(min(left, batch))
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			break
		}
		left -= len(records)
		all = append(all, records...)
	}
	return all, nil
}

// readOn is Read for which an end is no failure.
func (r *Reader) readOn(most int) ([]Record, error) {
	records, err := r.Read(most)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return records, err
}

// seek goes back to a position, or on to it.
func (r *Reader) seek(to Position) error {
	for n, mark := range [2]Mark{to.Stdout, to.Stderr} {
		r.streams[n].close()
		r.streams[n].seek(mark)
	}
	r.more = false
	return r.look()
}

// Ahead is how many bytes there were to read when names were looked at last.
func (r *Reader) Ahead() int64 {
	ahead := int64(0)
	for _, s := range r.wanted {
		for _, f := range s.files {
			f.measure()
			ahead += f.size
		}
		if f := s.current(); f != nil {
			ahead -= min(s.mark.Offset, f.size)
		}
	}
	return ahead
}

// Size is about how many bytes of the logs records are.
func Size(records []Record) (size int64) {
	for _, record := range records {
		size += int64(len(record.Text)) + 1
	}
	return size
}

// since goes to the line that has the first byte of a time or later, where there is one, and to the end otherwise.
func (s *stream) since(r *Reader, from time.Time) {
	for n, f := range s.files {
		f.measure()
		begin := f.beginning(r.root, s.log)
		at, found := int64(0), !f.at(0, r.now()).Before(from)
		if f.times != nil {
			at, found = f.times.Since(from)
		}
		if !found {
			at = f.size
		}
		begin.Offset = f.lineAt(min(at, f.size))
		s.seek(begin)
		if found {
			s.leave(n)
			return
		}
	}
	s.leave(max(len(s.files)-1, 0))
}

// last goes on to where n lines are left, if it has not come as far.
func (s *stream) last(n int) {
	budget := int64(maxScan)
	for at := len(s.files) - 1; at >= 0; at-- {
		f := s.files[at]
		f.measure()
		from := int64(0)
		if f.inode == s.mark.File {
			from = min(s.mark.Offset, f.size)
		}
		from = max(from, f.size-budget)
		begin, lines := f.lastLines(from, n)
		budget -= f.size - begin
		n -= lines
		if n <= 0 || budget <= 0 || f.inode == s.mark.File {
			if f.inode != s.mark.File || begin > s.mark.Offset {
				base := int64(unknownBase)
				if f.times != nil {
					base = f.times.Base
				}
				s.seek(Mark{File: f.inode, Base: base, Offset: begin})
			}
			s.leave(at)
			return
		}
	}
}

func (s *stream) seek(to Mark) {
	s.lines, s.skipped = nil, 0
	s.mark, s.taken = to, to
}

// lineAt is where the line begins that has the byte at an offset, or where it can be begun at the earliest.
func (f *logFile) lineAt(offset int64) int64 {
	from := max(offset-MaxLine, 0)
	before := f.read(make([]byte, offset-from), from)
	return from + int64(bytes.LastIndexByte(before, '\n')+1)
}

// lastLines is where the last n lines of a file begin, not before an offset, and how many they are. What follows the last
// line's end is none.
func (f *logFile) lastLines(from int64, n int) (begin int64, lines int) {
	chunk := make([]byte, MaxLine)
	for end := f.size; end > from; {
		begin := max(end-int64(len(chunk)), from)
		text := f.read(chunk[:end-begin], begin)
		for at := bytes.LastIndexByte(text, '\n'); at >= 0; at = bytes.LastIndexByte(text[:at], '\n') {
			if lines == n {
				return begin + int64(at) + 1, lines
			}
			lines++
		}
		end = begin
	}
	return from, lines
}
