package applog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/internal/logtimes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// home is an instance's directory, written to as the launcher does.
type home struct {
	t   *testing.T
	dir string
	// now is the second of what is said next.
	now int64
	// total is how much each stream had so far; timeless has no times written.
	total    map[string]int64
	timeless bool
}

func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{t: t, dir: filepath.Join(t.TempDir(), "home"), now: 1000, total: map[string]int64{}}
	require.NoError(t, os.MkdirAll(filepath.Join(h.dir, "logs"), 0o700))
	return h
}

func (h *home) place() Place {
	return Place{Open: func() (*os.Root, error) { return os.OpenRoot(h.dir) }}
}

func (h *home) reader(from Position) *Reader {
	r := New(h.place(), from)
	h.t.Cleanup(r.Close)
	return r
}

func (h *home) path(stream string) string { return filepath.Join(h.dir, "logs", stream+".log") }

// say writes to a stream, a second after what was said before.
func (h *home) say(stream, text string) {
	h.t.Helper()
	h.now++
	f, err := os.OpenFile(h.path(stream), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(h.t, err)
	info, err := f.Stat()
	require.NoError(h.t, err)
	if !h.timeless {
		h.mark(stream, info)
	}
	_, err = f.WriteString(text)
	require.NoError(h.t, err)
	require.NoError(h.t, f.Close())
	h.total[stream] += int64(len(text))
}

func (h *home) mark(stream string, log os.FileInfo) {
	h.t.Helper()
	times, err := os.OpenFile(logtimes.Name(h.path(stream)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(h.t, err)
	var text []byte
	if log.Size() == 0 {
		require.NoError(h.t, times.Truncate(0))
		text = logtimes.Header{File: log.Sys().(*syscall.Stat_t).Ino, Base: h.total[stream]}.Append(nil)
	}
	_, err = times.Write(logtimes.Entry{Offset: log.Size(), At: time.Unix(h.now, 0).UnixNano()}.Append(text))
	require.NoError(h.t, err)
	require.NoError(h.t, times.Close())
}

// rotate moves a stream's files aside.
func (h *home) rotate(stream string) {
	h.t.Helper()
	path := h.path(stream)
	if !h.timeless {
		require.NoError(h.t, os.Rename(logtimes.Name(path), logtimes.Name(path+logtimes.RotatedSuffix)))
	}
	require.NoError(h.t, os.Rename(path, path+logtimes.RotatedSuffix))
}

// read reads all that there is, as "second stream text", and says whether it was the end.
func (h *home) read(r *Reader) (lines []string, end bool) {
	h.t.Helper()
	for {
		records, err := r.Read(3)
		if errors.Is(err, io.EOF) {
			return lines, true
		}
		require.NoError(h.t, err)
		if len(records) == 0 {
			return lines, false
		}
		lines = append(lines, texts(records)...)
	}
}

func texts(records []Record) (lines []string) {
	for _, r := range records {
		line := fmt.Sprintf("%d %s %s", r.Time.Unix(), r.Stream, r.Text)
		if r.Partial {
			line += "..."
		}
		if r.Skipped != 0 {
			line = fmt.Sprintf("(%d) %s", r.Skipped, line)
		}
		lines = append(lines, line)
	}
	return lines
}

func (h *home) requireNext(r *Reader, want ...string) {
	h.t.Helper()
	got, end := h.read(r)
	require.False(h.t, end)
	require.Equal(h.t, want, got)
}
