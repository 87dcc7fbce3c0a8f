package stage

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// log is the staging's log. What programs say comes through as it is, up to the bound; for our own lines a part of that
// is kept, so that a log that is full still says how the staging ended. It is safe for several goroutines.
type log struct {
	mu   sync.Mutex
	file *os.File
	// left is for programs and us, reserve for us alone.
	left, reserve int64
	// written is how long the file is.
	written int64
	// full is set once something was dropped, open when the last line has no end yet.
	full, open bool
}

const (
	// maxReserve is plenty: few lines of ours come after what programs say.
	maxReserve = 32 << 10
	// maxLine bounds a line of ours: names of the user's stand in some.
	maxLine = 8 << 10

	wordsLogFull = "-----> The log is too long: the rest is not kept\n"
)

// openLog opens the log for up to limit bytes: it lies on the node's disk, not in the container.
func openLog(path string, limit int64) (*log, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	reserve := min(limit/2, maxReserve)
	return &log{file: f, left: limit - reserve, reserve: reserve}, nil
}

func (l *log) Close() error { return l.file.Close() }

// Write takes what a program says. It never fails for want of room.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(p) == 0 || l.full {
		return len(p), nil
	}
	kept := p[:min(int64(len(p)), l.left)]
	l.left -= int64(len(kept))
	if err := l.put(kept); err != nil {
		return 0, err
	}
	if len(kept) < len(p) {
		l.full = true
		l.ours(wordsLogFull)
	}
	return len(p), nil
}

// line writes one line of ours, on a line of its own. A log that cannot be written is no reason to stop.
func (l *log) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(text) > maxLine {
		text = text[:maxLine] + "..."
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ours(text + "\n")
}

// step writes a line in the form that buildpacks use for what they do.
func (l *log) step(format string, args ...any) { l.line("-----> "+format, args...) }

func (l *log) ours(text string) {
	if l.open {
		text = "\n" + text
	}
	room := &l.left
	if l.full || l.left < int64(len(text)) {
		room = &l.reserve
	}
	text = text[:min(int64(len(text)), *room)]
	*room -= int64(len(text))
	_ = l.put([]byte(text))
}

func (l *log) put(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	l.open = p[len(p)-1] != '\n'
	n, err := l.file.Write(p)
	l.written += int64(n)
	return err
}

// copyTo writes what is in the log so far to another file.
func (l *log) copyTo(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, err := os.Open(l.file.Name())
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err = io.Copy(to, io.LimitReader(from, l.written)); err != nil {
		_ = to.Close()
		return err
	}
	return to.Close()
}
