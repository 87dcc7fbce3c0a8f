package logtimes

import (
	"io"
	"os"
	"sort"
	"time"

	"github.com/durable-dea/dea/internal/regular"
)

const (
	// maxEntries bounds what is looked at: the launcher moves a log aside before its times are half of it.
	maxEntries = 2 << 20
	// blockEntries are read at once.
	blockEntries = 256
)

// Index reads the times of one log file. It is for one goroutine.
type Index struct {
	Header

	file    *os.File
	entries int
	// block are entries from first on; empty before anything was read.
	block []Entry
	first int
	raw   []byte
	// senseless is set when the entries are found to be in no order, until they begin anew.
	senseless bool
}

// Open finds the times of the log file whose inode is file, among those of a stream: log is the name of its file that is
// written to, as logs/stdout.log, beneath root. nil when there are none.
func Open(root *os.Root, log string, file uint64) *Index {
	for _, name := range []string{Name(log), Name(log + RotatedSuffix)} {
		if index := open(root, name); index != nil {
			if index.File == file {
				return index
			}
			index.Close()
		}
	}
	return nil
}

func open(root *os.Root, name string) *Index {
	file, info, err := regular.Open(root, name)
	if err != nil {
		return nil
	}
	x := &Index{file: file}
	if !x.read(info.Size()) {
		x.Close()
		return nil
	}
	return x
}

// read takes in the header, and how many entries there are in a file of a size.
func (x *Index) read(size int64) bool {
	head := make([]byte, HeaderSize)
	if _, err := x.file.ReadAt(head, 0); err != nil {
		return false
	}
	header, ok := parseHeader(head)
	entries := int(min((size-HeaderSize)/EntrySize, maxEntries))
	if header != x.Header || entries < x.entries {
		x.block, x.senseless = x.block[:0], false // it began anew
	}
	x.Header, x.entries = header, entries
	return ok
}

// Refresh sees what was written since, and tells whether these are still times of the same log file.
func (x *Index) Refresh() bool {
	of := x.File
	info, err := x.file.Stat()
	return err == nil && x.read(info.Size()) && x.File == of
}

// Close closes the file. It does nothing for nil.
func (x *Index) Close() {
	if x != nil {
		_ = x.file.Close()
	}
}

// Len is how many entries there are, as far as they are looked at.
func (x *Index) Len() int { return x.entries }

// At is when the byte at an offset came, not later than now; false where that is not known. What was there before the first
// entry is as old as that one. Offsets that are near the last one asked for cost next to nothing, others a search. Once a
// search shows that the entries are in no order no time is known: each line would cost one.
func (x *Index) At(offset int64, now time.Time) (time.Time, bool) {
	if x == nil || x.entries == 0 || x.senseless {
		return time.Time{}, false
	}
	if !x.inBlock(offset) {
		at := sort.Search(x.entries, func(n int) bool { return x.entry(n).Offset > offset })
		if !x.load(max(at-1, 0)) {
			return time.Time{}, false
		}
		if x.senseless = !x.inBlock(offset); x.senseless {
			return time.Time{}, false
		}
	}
	at := sort.Search(len(x.block), func(n int) bool { return x.block[n].Offset > offset })
	return x.block[max(at-1, 0)].time(now)
}

// inBlock tells whether the entry of an offset is in the block. Of what was there before the first entry it is the first.
func (x *Index) inBlock(offset int64) bool {
	if len(x.block) == 0 || x.first > 0 && x.block[0].Offset > offset {
		return false
	}
	return x.block[len(x.block)-1].Offset > offset || x.first+len(x.block) == x.entries
}

// Since is the offset of the first byte that came at a time or later; false when there is none, or it is not known.
func (x *Index) Since(from time.Time) (int64, bool) {
	if x == nil {
		return 0, false
	}
	at := sort.Search(x.entries, func(n int) bool { return x.entry(n).At >= from.UnixNano() })
	if at == x.entries {
		return 0, false
	}
	return max(x.entry(at).Offset, 0), true
}

// entry is one entry, all zero where it cannot be read.
func (x *Index) entry(n int) Entry {
	if x.holds(n) {
		return x.block[n-x.first]
	}
	var raw [EntrySize]byte
	if _, err := x.file.ReadAt(raw[:], HeaderSize+int64(n)*EntrySize); err != nil {
		return Entry{}
	}
	return parseEntry(raw[:])
}

// load makes the entries from one on the block, and tells whether there are any.
func (x *Index) load(first int) bool {
	if x.raw == nil {
		x.raw = make([]byte, blockEntries*EntrySize)
		x.block = make([]Entry, 0, blockEntries)
	}
	wanted := min(x.entries-first, blockEntries) * EntrySize
	n, err := x.file.ReadAt(x.raw[:wanted], HeaderSize+int64(first)*EntrySize)
	if err != nil && err != io.EOF {
		n = 0
	}
	x.first, x.block = first, x.block[:0]
	for ; n >= EntrySize; n -= EntrySize {
		x.block = append(x.block, parseEntry(x.raw[len(x.block)*EntrySize:]))
	}
	return len(x.block) > 0
}
