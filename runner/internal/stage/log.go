package stage

import (
	"fmt"
	"io"
	"os"

	"github.com/durable-dea/dea/runner/internal/phase"
)

// log is the staging's log. It is safe for several goroutines.
type log struct {
	*phase.Bounded
	file *os.File
}

// openLog opens the log for up to limit bytes: it lies on the node's disk, not in the container.
func openLog(path string, limit int64) (*log, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return &log{Bounded: phase.NewBounded(f, limit, "\n-----> The log is too long: the rest is not kept\n"), file: f}, nil
}

func (l *log) Close() error { return l.file.Close() }

// line writes one line of ours. A log that cannot be written is no reason to stop.
func (l *log) line(format string, args ...any) {
	_, _ = fmt.Fprintf(l, format+"\n", args...)
}

// step writes a line in the form that buildpacks use for what they do.
func (l *log) step(format string, args ...any) { l.line("-----> "+format, args...) }

// copyTo writes what is in the log so far to another file.
func (l *log) copyTo(path string) error {
	from, err := os.Open(l.file.Name())
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err = io.Copy(to, from); err != nil {
		_ = to.Close()
		return err
	}
	return to.Close()
}
