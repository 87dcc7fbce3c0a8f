package logtimes

import (
	"fmt"
	"os"
	"sort"
)

// mostKept bounds the entries of a copy, to 1 MiB. Where there are more, some of them stand for those between.
const mostKept = 1 << 16

// Keep writes the times of the end of a log, from an offset on, for a copy of that end: a file at path, for the log whose
// inode is file. Places in the stream stay what they were.
func (x *Index) Keep(path string, offset int64, file uint64) error {
	first := sort.Search(x.entries, func(n int) bool { return x.entry(n).Offset > offset })
	first = max(first-1, 0) // the one that is of the first byte
	step := (x.entries-first)/mostKept + 1
	text := Header{File: file, Base: x.Base + offset}.Append(nil)
	for n := first; n < x.entries; n += step {
		if !x.holds(n) && !x.load(n) {
			break
		}
		e := x.entry(n)
		text = Entry{Offset: max(e.Offset-offset, 0), At: e.At}.Append(text)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("keep the times of a log: %w", err)
	}
	return nil
}

// holds tells whether an entry is in the block.
func (x *Index) holds(n int) bool { return n >= x.first && n < x.first+len(x.block) }
