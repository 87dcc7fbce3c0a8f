package crashes

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

	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/logtimes"
)

// A reader of an instance's logs goes on in what is kept of it, with the times that its lines had and nothing twice.
func TestAReaderGoesOnInWhatIsKept(t *testing.T) {
	w := newWorld(t)
	home := t.TempDir()
	dir := filepath.Join(home, "logs")
	require.NoError(t, os.Mkdir(dir, 0o700))
	const lines, length, base = 3000, 4096, 777
	text := strings.Builder{}
	for n := range lines {
		fmt.Fprintf(&text, "%0*d\n", length-1, n)
	}
	require.Greater(t, text.Len(), maxLog)
	log := filepath.Join(dir, "stdout.log")
	require.NoError(t, os.WriteFile(log, []byte(text.String()), 0o600))
	info, err := os.Stat(log)
	require.NoError(t, err)
	times := logtimes.Header{File: inode(info), Base: base}.Append(nil)
	for n := range int64(lines) {
		times = logtimes.Entry{Offset: n * length, At: time.Unix(n, 0).UnixNano()}.Append(times)
	}
	require.NoError(t, os.WriteFile(logtimes.Name(log), times, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "stderr.log"), []byte("without times\n"), 0o600))

	live := applog.New(applog.Place{Open: func() (*os.Root, error) { return os.OpenRoot(home) }}, applog.Position{})
	defer live.Close()
	const read = 2500
	readOn := func(count int) {
		for count > 0 {
			records, err := live.Read(count)
			require.NoError(t, err)
			count -= len(records)
		}
	}
	readOn(read / 10)
	early := live.Position()
	readOn(read - read/10)

	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	require.NoError(t, w.Keep(t.Context(), Crash{InstanceID: "i", AppID: "a"}, root))
	rest := w.read(live.Position())
	require.Len(t, rest, lines-read+1)
	for n, record := range rest[:lines-read] {
		require.Equal(t, fmt.Sprintf("%0*d", length-1, read+n), record.Text)
		require.Equal(t, int64(read+n), record.Time.Unix())
		require.Zero(t, record.Skipped)
	}
	require.Equal(t, "without times", rest[lines-read].Text)

	rest = w.read(early)
	require.Len(t, rest, maxLog/length+1)
	require.EqualValues(t, lines*length-maxLog-read/10*length, rest[0].Skipped, "only the end is kept")
	require.Equal(t, int64(lines-maxLog/length), rest[0].Time.Unix())
}

// read reads what is kept of instance i.
func (w *world) read(from applog.Position) (all []applog.Record) {
	w.t.Helper()
	place := applog.Place{Open: func() (*os.Root, error) { return os.OpenRoot(w.Dir("i")) }, Over: true}
	r := applog.New(place, from)
	defer r.Close()
	for {
		records, err := r.Read(1000)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(w.t, err)
		all = append(all, records...)
	}
}
