package phase

import (
	"bytes"
	"io"
	"sync"
)

// Bounded passes on a number of bytes and drops the rest, so that a program which never stops talking fills neither
// disk nor memory. It is safe for several goroutines.
type Bounded struct {
	mu   sync.Mutex
	to   io.Writer
	left int64
	note string
	full bool
}

// NewBounded passes on up to limit bytes; then note, once, if it is not empty.
func NewBounded(to io.Writer, limit int64, note string) *Bounded {
	return &Bounded{to: to, left: limit, note: note}
}

// Write never fails for want of room.
func (b *Bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full {
		return len(p), nil
	}
	if int64(len(p)) <= b.left {
		b.left -= int64(len(p))
		return b.to.Write(p)
	}
	b.full = true
	if _, err := b.to.Write(p[:b.left]); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(b.to, b.note); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Full tells whether something was dropped.
func (b *Bounded) Full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full
}

// Capture is a buffer for what a program says, with a bound.
type Capture struct {
	*Bounded
	buffer *bytes.Buffer
}

// NewCapture keeps up to limit bytes.
func NewCapture(limit int64) *Capture {
	buffer := &bytes.Buffer{}
	return &Capture{Bounded: NewBounded(buffer, limit, ""), buffer: buffer}
}

// Bytes are what was kept. Not to be used while the program runs.
func (c *Capture) Bytes() []byte { return c.buffer.Bytes() }
