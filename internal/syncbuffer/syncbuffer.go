// Package syncbuffer is a text that is read while it is still written: tests look into what a logger or a process says.
package syncbuffer

import (
	"bytes"
	"sync"
)

// Buffer is such a text. The zero value is empty; it is safe for concurrent use.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is all that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
