package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/logtimes"
)

// timed is a log file whose clock the test sets, in a home as the node sees it.
type timed struct {
	*logFile
	t    *testing.T
	home string
	at   time.Time
}

func newTimed(t *testing.T, limit, timesLimit int64) *timed {
	t.Helper()
	w := &timed{t: t, home: t.TempDir(), at: time.Unix(1000, 0)}
	require.NoError(t, os.Mkdir(filepath.Join(w.home, "logs"), 0o700))
	var err error
	w.logFile, err = openLogFile(filepath.Join(w.home, "logs", "stdout.log"), limit, 0)
	require.NoError(t, err)
	w.timesLimit = timesLimit
	w.now = func() time.Time { return w.at }
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// say writes a second after what was said before.
func (w *timed) say(text string) {
	w.t.Helper()
	w.at = w.at.Add(time.Second)
	_, err := w.Write([]byte(text))
	require.NoError(w.t, err)
}

func (w *timed) reader() *applog.Reader {
	r := applog.New(applog.Place{Open: func() (*os.Root, error) { return os.OpenRoot(w.home) }}, applog.Position{})
	w.t.Cleanup(r.Close)
	return r
}

func (w *timed) requireNext(r *applog.Reader, want ...string) {
	w.t.Helper()
	records, err := r.Read(1000)
	require.NoError(w.t, err)
	var got []string
	for _, record := range records {
		require.Zero(w.t, record.Skipped)
		got = append(got, fmt.Sprint(record.Time.Unix(), " ", record.Text))
	}
	require.Equal(w.t, want, got)
}

func (w *timed) sizes(name string) (log, times int64) {
	w.t.Helper()
	for path, size := range map[string]*int64{name: &log, logtimes.Name(name): &times} {
		info, err := os.Stat(filepath.Join(w.home, "logs", path))
		require.NoError(w.t, err)
		*size = info.Size()
	}
	return log, times
}

func TestEachLineHasItsTime(t *testing.T) {
	t.Parallel()
	w := newTimed(t, 1000, maxTimes)
	r := w.reader()
	w.say("one\n")
	w.at = w.at.Add(markEvery / 2)
	_, err := w.Write([]byte("with it\n"))
	require.NoError(t, err)
	_, size := w.sizes("stdout.log")
	require.EqualValues(t, logtimes.HeaderSize+logtimes.EntrySize, size, "one entry a millisecond")
	w.say("two\nthr")
	w.say("ee\n")
	w.at = w.at.Add(-time.Minute) // a clock that was set back
	w.say("four\n")
	w.requireNext(r, "1001 one", "1001 with it", "1002 two", "1003 three", "944 four")
}

func TestTimesGoWithTheirLog(t *testing.T) {
	t.Parallel()
	w := newTimed(t, 20, maxTimes)
	r := w.reader()
	var want []string
	for n := range 100 {
		w.say(fmt.Sprintf("line %d\n", n))
		want = append(want, fmt.Sprintf("%d line %d", 1001+n, n))
		if n%3 == 2 {
			w.requireNext(r, want...)
			want = nil
		}
	}
}

// Many small writes, each with its time, do not fill the disk with times.
func TestTimesAreBounded(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"lines": "x\n", "torn lines": "\nx", "no lines": "x"} {
		const limit = 1000
		w := newTimed(t, 1<<20, limit)
		for range 2000 {
			w.say(text)
			_, times := w.sizes("stdout.log")
			require.LessOrEqual(t, times, int64(limit+timesSlack+logtimes.EntrySize), name)
		}
		require.FileExists(t, w.path+".1", name)
		require.EqualValues(t, 2000*len(text), w.total)
	}
}

// An app that empties its log, or writes there itself, has right times all the same.
func TestTimesOfALogThatTheAppChanges(t *testing.T) {
	t.Parallel()
	w := newTimed(t, 1000, maxTimes)
	r := w.reader()
	w.say("one\n")
	w.requireNext(r, "1001 one")
	require.NoError(t, os.Truncate(w.path, 0))
	w.say("a longer second line\n")
	w.requireNext(r, "1002 a longer second line")
	f, err := os.OpenFile(w.path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = io.WriteString(f, "the app's own\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	w.say("three\n")
	w.requireNext(r, "1002 the app's own", "1003 three")
	w.moveAside()
	w.say("four\n")
	w.requireNext(r, "1004 four")
}

// What else is in the place of the times gives way, or there are none; the log is written in any case.
func TestOddThingsInPlaceOfTimes(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	for name, put := range map[string]func(path string) error{
		"fifo":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"link":   func(path string) error { return os.Symlink(outside, path) },
		"device": func(path string) error { return os.Symlink("/dev/full", path) },
		"full directory": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "x"), nil, 0o600))
		},
	} {
		w := newTimed(t, 1000, maxTimes)
		w.say("one\n")
		w.moveAside()
		require.NoError(t, put(w.times.path), name)
		w.say("two\n")
		w.say("three\n")
		requireText(t, "two\nthree\n", w.path)
		records, err := w.reader().Read(10)
		require.NoError(t, err)
		require.Len(t, records, 3, name)
		require.NoFileExists(t, outside)
	}
}

// When a launcher is killed between the two renames, the times are still found.
func TestALauncherThatEndsWhileItMovesFilesAside(t *testing.T) {
	t.Parallel()
	w := newTimed(t, 1000, maxTimes)
	w.say("one\n")
	w.moveAside()
	w.say("two\n")
	w.times.moveAside()
	w.requireNext(w.reader(), fmt.Sprint(modified(t, w.path+".1"), " one"), "1002 two")
}

func modified(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.ModTime().Unix()
}

// Through a real pipe, with a real clock: every line is read once, while it is written and moved aside, and its time is
// between those of its writing and its reading.
func TestOutputIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, "logs"), 0o700))
	o, err := openOutput(filepath.Join(home, "logs", "stdout.log"), filepath.Join(home, "logs", "stderr.log"), Limit{})
	require.NoError(t, err)
	t.Cleanup(o.close)
	for _, f := range o.files {
		f.limit, f.slack, f.timesLimit = 64<<10, 1<<10, 1<<10
	}
	stdout, stderr, err := o.pipes()
	require.NoError(t, err)
	defer stderr.Close()
	r := applog.New(applog.Place{Open: func() (*os.Root, error) { return os.OpenRoot(home) }}, applog.Position{})
	defer r.Close()
	begun, next := time.Now(), 0
	// Within few enough lines that no two files are moved aside meanwhile.
	readUntil := func(end int) {
		for next < end {
			records, err := r.Read(1000)
			require.NoError(t, err)
			for _, record := range records {
				require.Zero(t, record.Skipped)
				require.Equal(t, strings.TrimSuffix(numbered(int64(next)), "\n"), record.Text)
				require.WithinRange(t, record.Time, begun, time.Now())
				next++
			}
		}
	}
	const lines = 20_000
	for n := range int64(lines) {
		_, err := io.WriteString(stdout, numbered(n))
		require.NoError(t, err)
		if n%50 == 0 {
			readUntil(int(n) + 1)
		}
	}
	require.NoError(t, stdout.Close())
	o.drain()
	readUntil(lines)
	require.FileExists(t, filepath.Join(home, "logs", "stdout.log.1"))
}

// BenchmarkSmallWrites is what a line of 100 bytes in a write of its own costs: with times, without them, and to the file
// alone.
func BenchmarkSmallWrites(b *testing.B) {
	line := []byte(strings.Repeat("x", 99) + "\n")
	for _, with := range []string{"times", "no times"} {
		b.Run(with, func(b *testing.B) {
			l, err := openLogFile(filepath.Join(b.TempDir(), "stdout.log"), maxLog, slack)
			require.NoError(b, err)
			defer l.Close()
			if with == "no times" {
				l.times.marked = time.Now().Add(time.Hour)
				l.now = func() time.Time { return time.Time{} }
			}
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				_, _ = l.Write(line)
			}
		})
	}
	b.Run("floor", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "stdout.log"))
		require.NoError(b, err)
		defer f.Close()
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			_, _ = f.Write(line)
		}
	})
}
