package launch

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// opened is an output into files of the test's, with the app's ends of its pipes.
func opened(t testing.TB, limit Limit) (o *output, logs [2]string, ends [2]*os.File) {
	t.Helper()
	dir := t.TempDir()
	logs = [2]string{filepath.Join(dir, "stdout.log"), filepath.Join(dir, "stderr.log")}
	o, err := openOutput(logs[0], logs[1], limit)
	require.NoError(t, err)
	t.Cleanup(o.close)
	ends[0], ends[1], err = o.pipes()
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, f := range ends {
			_ = f.Close()
		}
	})
	return o, logs, ends
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

// The time is real here, so what is dropped depends on the machine, but not that it is counted.
func TestOutputCountsWhatItDrops(t *testing.T) {
	t.Parallel()
	o, logs, ends := opened(t, Limit{Rate: 4096, Burst: window})
	var told int64
	var part bytes.Buffer
	for n := range int64(200_000) {
		part.WriteString(numbered(n))
		if part.Len() > 50_000 {
			told += int64(part.Len())
			_, err := part.WriteTo(ends[0])
			require.NoError(t, err)
		}
	}
	told += int64(part.Len())
	_, err := part.WriteTo(ends[0])
	require.NoError(t, err)
	_, err = io.WriteString(ends[1], "few words")
	require.NoError(t, err)
	o.drain()
	written, dropped, _ := audit(t, read(t, logs[0]))
	require.Equal(t, told, written+dropped)
	require.Greater(t, dropped, told*9/10)
	require.True(t, strings.HasSuffix(read(t, logs[0]), numbered(199_999)))
	require.Equal(t, "few words", read(t, logs[1]), "each stream has a limit of its own")
}

// An app's last words are in the pipe when it has ended; that nobody has read them yet, for whatever time, is no reason
// to lose them, and that others keep the pipe open none to wait.
func TestDrainTakesWhatIsInThePipe(t *testing.T) {
	t.Parallel()
	for range 50 {
		o, logs, ends := opened(t, Limit{})
		want := strings.Repeat("last words\n", 5000)
		_, err := io.WriteString(ends[0], want)
		require.NoError(t, err)
		for _, from := range o.ours {
			from.endAt(time.Now().Add(-time.Second))
		}
		o.copies.Wait()
		require.Equal(t, want, read(t, logs[0]))
	}
}

// What waits for its turn does not wait for the app to say more.
func TestOutputWritesWhatWaits(t *testing.T) {
	t.Parallel()
	_, logs, ends := opened(t, Limit{Rate: 50_000, Burst: window})
	want := ""
	for n := range int64(700) {
		want += numbered(n)
	}
	_, err := io.WriteString(ends[0], want)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return read(t, logs[0]) == want }, time.Minute, 10*time.Millisecond)
}

// BenchmarkFlood is how fast a stream takes lines of 100 bytes from an app that writes 64 KiB at once, and what it takes
// to read them at all: io.Copy to /dev/null.
func BenchmarkFlood(b *testing.B) {
	for name, limit := range map[string]Limit{"limited": DefaultLimit, "unlimited": {}} {
		b.Run(name, func(b *testing.B) {
			o, _, ends := opened(b, limit)
			flood(b, ends[0], o.drain)
		})
	}
	b.Run("floor", func(b *testing.B) {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		require.NoError(b, err)
		defer null.Close()
		ours, end, err := os.Pipe()
		require.NoError(b, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			// Without the splice that a pipe to a file would be: what is read must have been seen.
			_, _ = io.Copy(struct{ io.Writer }{null}, struct{ io.Reader }{ours})
		}()
		flood(b, end, func() { <-done })
	})
}

func flood(b *testing.B, to *os.File, drained func()) {
	b.Helper()
	part := []byte(strings.Repeat(fmt.Sprintf("%099d\n", 7), 655))
	b.SetBytes(int64(len(part)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := to.Write(part); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, to.Close())
	drained()
}
