package logtimes

import (
	"encoding/binary"
	"path"
	"strings"
	"time"
)

const (
	// HeaderSize is a header's, in bytes.
	HeaderSize = 32
	// EntrySize is an entry's, in bytes.
	EntrySize = 16
	// magic is how a file of this form begins; its last digit is the form's version.
	magic = "deatime1"
	// RotatedSuffix ends the name of a log that was moved aside, and that of its times.
	RotatedSuffix = ".1"
)

// Name is the name of the times of a log: of logs/stdout.log it is logs/.stdout.times, of logs/stdout.log.1
// logs/.stdout.times.1.
func Name(log string) string {
	dir, file := path.Split(log)
	file, rotated := strings.CutSuffix(file, RotatedSuffix)
	name := dir + "." + strings.TrimSuffix(file, ".log") + ".times"
	if rotated {
		name += RotatedSuffix
	}
	return name
}

// Header begins the times of one log file.
type Header struct {
	// File is the inode of that file.
	File uint64
	// Base is how many bytes of the stream came before its first one.
	Base int64
}

// Append appends the header as it is in the file, HeaderSize bytes.
func (h Header) Append(b []byte) []byte {
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, h.File)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Base)) //nolint:gosec // read back as it was
	return binary.LittleEndian.AppendUint64(b, 0)           // for later
}

func parseHeader(b []byte) (Header, bool) {
	if len(b) < HeaderSize || string(b[:len(magic)]) != magic {
		return Header{}, false
	}
	h := Header{
		File: binary.LittleEndian.Uint64(b[8:]),
		Base: int64(binary.LittleEndian.Uint64(b[16:])), //nolint:gosec // checked below
	}
	return h, h.Base >= 0 && h.Base <= maxBase
}

// maxBase keeps sums of a base and an offset from overflowing: no app says so much.
const maxBase = 1 << 60

// Entry says that the bytes of a log from Offset on, up to the next entry's, came at a time.
type Entry struct {
	// Offset is in the log file, in bytes.
	Offset int64
	// At is in nanoseconds since 1970.
	At int64
}

// Append appends the entry as it is in the file, EntrySize bytes.
func (e Entry) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Offset)) //nolint:gosec // read back as it was
	return binary.LittleEndian.AppendUint64(b, uint64(e.At))  //nolint:gosec // read back as it was
}

func parseEntry(b []byte) Entry {
	return Entry{
		Offset: int64(binary.LittleEndian.Uint64(b)),     //nolint:gosec // any number is survived
		At:     int64(binary.LittleEndian.Uint64(b[8:])), //nolint:gosec // any number is survived
	}
}

// time is when an entry's bytes came, not later than now; false for what cannot be a time.
func (e Entry) time(now time.Time) (time.Time, bool) {
	if e.At <= 0 {
		return time.Time{}, false
	}
	at := time.Unix(0, e.At)
	if at.After(now) {
		at = now
	}
	return at, true
}
