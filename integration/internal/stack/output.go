package stack

import (
	"bytes"
	"io"
	"sync"
)

// maxTail is how much of a devserver's words is kept for the error of one that fails.
const maxTail = 16 << 10

// tail keeps the last of what is written to it.
type tail struct {
	copy io.Writer

	mu   sync.Mutex
	kept []byte
}

// Write never fails: a terminal that is gone must not end the devserver.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.copy != nil {
		_, _ = t.copy.Write(p)
	}
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}

// firstLine hands over the first line that is written to it and drops the rest.
type firstLine struct {
	arrived chan []byte

	mu   sync.Mutex
	kept []byte
	done bool
}

func (f *firstLine) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return len(p), nil
	}
	f.kept = append(f.kept, p...)
	if line, _, whole := bytes.Cut(f.kept, []byte("\n")); whole {
		f.done = true
		f.arrived <- line
	}
	return len(p), nil
}
