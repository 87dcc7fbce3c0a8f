package archive

import (
	"context"
	"io"
	"sync/atomic"
)

// Options bound what is unpacked. The zero value has the defaults.
type Options struct {
	// MaxBytes bounds the unpacked files together; 0 means DefaultMaxBytes.
	MaxBytes int64
	// MaxEntries bounds files, directories and links together, also the directories that only the names of others
	// imply; 0 means DefaultMaxEntries. It bounds the memory that the entries take as well: to about a kilobyte each.
	MaxEntries int
	// FromContainer is for an archive that Pack made of a container's directory. What a buildpack left there is
	// no attack: names of any bytes and links that lead out of the directory (to /usr/bin/python3, to /app) are
	// kept. They are still never followed while unpacking.
	FromContainer bool
}

// Defaults of Options.
const (
	DefaultMaxBytes   int64 = 8 << 30
	DefaultMaxEntries       = 500_000
)

func (o Options) withDefaults() Options {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxEntries <= 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	return o
}

// Bytes of an archive's own, in which everything has a place that is not made to eat memory and time.
const (
	// namesPerEntry is the room for the name of an entry and whatever else is kept of it, on the average, and leastNames
	// that for all when there are few.
	namesPerEntry = 256
	leastNames    = 1 << 20
	// tarPerEntry is the room for an entry's headers and padding in a tar, on the average.
	tarPerEntry = 4 << 10
)

// maxNames bounds the names of all entries together, in bytes.
func (o Options) maxNames() int64 { return leastNames + int64(o.MaxEntries)*namesPerEntry }

// maxTar bounds a whole tar, in bytes.
func (o Options) maxTar() int64 { return o.MaxBytes + leastNames + int64(o.MaxEntries)*tarPerEntry }

// Unpacked says what was unpacked.
type Unpacked struct {
	// Entries counts the archive's files, directories and links, Bytes what is in the files.
	Entries int
	Bytes   int64
}

// meter counts the bytes of all files together, from several goroutines, and stops at the limit or with the context.
type meter struct {
	// stopped is the context's Err.
	stopped func() error
	limit   int64
	// named is the limit that the user is told.
	named int64
	used  atomic.Int64
}

func newMeter(ctx context.Context, limit, named int64) *meter {
	return &meter{stopped: ctx.Err, limit: limit, named: named}
}

// fits refuses what is known to be too large before a byte of it is written.
func (m *meter) fits(size int64) error {
	if size > m.limit-m.used.Load() {
		return tooManyBytes(m.named)
	}
	return nil
}

func (m *meter) reader(r io.Reader) io.Reader { return &meteredReader{meter: m, from: r} }

type meteredReader struct {
	meter *meter
	from  io.Reader
}

func (r *meteredReader) Read(p []byte) (int, error) {
	if err := r.meter.stopped(); err != nil {
		return 0, err
	}
	n, err := r.from.Read(p)
	if r.meter.used.Add(int64(n)) > r.meter.limit {
		return 0, tooManyBytes(r.meter.named)
	}
	return n, err
}

// copyBufferSize is what one read and one write of a file move.
const copyBufferSize = 128 << 10

// copyTo hides the destination's ReadFrom, which would bring its own, smaller buffer.
func copyTo(w io.Writer, r io.Reader, buffer []byte) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, r, buffer)
	return err
}
