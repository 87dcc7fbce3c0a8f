package applog

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/logtimes"
	"github.com/durable-dea/dea/internal/regular"
)

// logFile is one file of a stream, with its times where there are any.
type logFile struct {
	file  *os.File
	inode uint64
	times *logtimes.Index
	// seen is how it was when it was read last, size how much there is to read of it.
	seen unix.Stat_t
	size int64
}

func openFile(root *os.Root, name string) *logFile {
	file, info, err := regular.Open(root, name)
	if err != nil {
		return nil // not there, or nothing that can be read: it may be the next time
	}
	return &logFile{file: file, inode: inodeOf(info), size: info.Size()}
}

func inodeOf(info os.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}

func (f *logFile) close() {
	f.times.Close()
	f.times = nil
	_ = f.file.Close()
}

func closeFiles(files []*logFile) {
	for _, f := range files {
		f.close()
	}
}

func (f *logFile) stat() (stat unix.Stat_t, ok bool) {
	return stat, unix.Fstat(int(f.file.Fd()), &stat) == nil
}

// measure sees how much there is to read.
func (f *logFile) measure() {
	if stat, ok := f.stat(); ok {
		f.seen, f.size = stat, stat.Size
	}
}

// changed tells whether it was written to, emptied, renamed or removed since it was measured.
func (f *logFile) changed() bool {
	stat, ok := f.stat()
	return !ok || stat.Size != f.seen.Size || stat.Nlink != f.seen.Nlink ||
		stat.Mtim != f.seen.Mtim || stat.Ctim != f.seen.Ctim
}

// read fills a buffer with what there is from an offset on, as far as it was measured.
func (f *logFile) read(buffer []byte, offset int64) []byte {
	wanted := min(int64(len(buffer)), f.size-offset)
	if wanted <= 0 {
		return nil
	}
	n, _ := f.file.ReadAt(buffer[:wanted], offset) // what cannot be read is not there yet
	return buffer[:n]
}

// index are its times as they are now; nil when there are none.
func (f *logFile) index(root *os.Root, log string) *logtimes.Index {
	if f.times != nil && f.times.Refresh() {
		return f.times
	}
	f.times.Close()
	f.times = logtimes.Open(root, log, f.inode)
	return f.times
}

// at is when the byte at an offset came.
func (f *logFile) at(offset int64, now time.Time) time.Time {
	if at, ok := f.times.At(offset, now); ok {
		return at
	}
	if f.seen.Mtim.Nano() == 0 {
		f.measure()
	}
	written := time.Unix(f.seen.Mtim.Unix())
	if written.After(now) {
		return now
	}
	return written
}

// beginning is the mark of its first byte.
func (f *logFile) beginning(root *os.Root, log string) Mark {
	mark := Mark{File: f.inode, Base: unknownBase}
	if times := f.index(root, log); times != nil {
		mark.Base = times.Base
	}
	return mark
}

// snapshots bounds how often the names are looked at again because the launcher has just moved them.
const snapshots = 3

// look sees which files the names mean now, and finds the mark among them.
func (s *stream) look(root *os.Root) {
	for range snapshots {
		rotated, current := inodeAt(root, s.log+logtimes.RotatedSuffix), inodeAt(root, s.log)
		if s.holds(rotated, current) {
			return
		}
		var files []*logFile
		for _, name := range []string{s.log + logtimes.RotatedSuffix, s.log} {
			if f := openFile(root, name); f != nil {
				files = append(files, f)
			}
		}
		closeFiles(s.files)
		s.files = files
		if inodeAt(root, s.log+logtimes.RotatedSuffix) == rotated {
			break // none was moved in between
		}
	}
	s.locate(root)
}

// inodeAt is what has a name, 0 for nothing.
func inodeAt(root *os.Root, name string) uint64 {
	info, err := root.Stat(name)
	if err != nil {
		return 0
	}
	return inodeOf(info)
}

// holds tells whether what is open is what the names mean, as far as it is still to be read.
func (s *stream) holds(rotated, current uint64) bool {
	switch len(s.files) {
	case 1:
		only := s.files[0].inode
		return only == s.mark.File && (only == current || only == rotated && current == 0)
	case 2:
		return s.files[0].inode == rotated && s.files[1].inode == current && s.current() != nil
	default:
		return false
	}
}

// locate finds where to go on in the files that are there: by inode, and where the file that was read is gone, by how much
// of the stream came before each.
func (s *stream) locate(root *os.Root) {
	if len(s.files) == 0 {
		return
	}
	begins := make([]Mark, len(s.files))
	for n, f := range s.files {
		begins[n] = f.beginning(root, s.log)
		if sameFile(begins[n], s.mark) {
			s.leave(n)
			return
		}
	}
	s.place(begins)
}

// place goes on in files that are all others than the one that was read.
func (s *stream) place(begins []Mark) {
	from, last := s.mark, len(begins)-1
	if begins[last].Base == unknownBase && s.files[last].size == 0 {
		if last == 0 && from.File != 0 {
			return // it is a moment old, and its times are not there yet
		}
		if begins[0].Base != unknownBase {
			begins[last].Base = begins[0].Base + s.files[0].size
		}
	}
	if s.mark = begins[0]; from.File == 0 {
		return
	}
	if from.Base == unknownBase || begins[last].Base == unknownBase {
		s.skip(UnknownSkip)
		return
	}
	at := from.Base + from.Offset
	n := 0
	for n < last && (begins[n].Base == unknownBase || at >= begins[n+1].Base) {
		n++
	}
	if at < begins[n].Base {
		s.skip(begins[n].Base - at)
	}
	s.mark = begins[n]
	s.mark.Offset = min(max(at-s.mark.Base, 0), s.files[n].size)
	s.leave(n)
}

// sameFile tells whether a mark is in the file that begins at another. An inode alone may be that of a later file.
func sameFile(begin, mark Mark) bool {
	return begin.File == mark.File && (begin.Base == mark.Base || begin.Base == unknownBase || mark.Base == unknownBase)
}

// leave is done with the first n files.
func (s *stream) leave(n int) {
	closeFiles(s.files[:n])
	s.files = s.files[n:]
}
