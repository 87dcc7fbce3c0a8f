package applog

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/logtimes"
)

// What an app can put in the place of its logs and their times neither leads out nor keeps anybody waiting.
func TestOtherThingsInPlaceOfLogs(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret\n"), 0o600))
	for name, put := range map[string]func(path string) error{
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"link":      func(path string) error { return os.Symlink(secret, path) },
		"loop":      func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		for _, where := range []string{"stdout.log", "stdout.log.1", ".stdout.times", ".stdout.times.1"} {
			h := newHome(t)
			h.say(Stdout, "before\n")
			h.rotate(Stdout)
			h.say(Stdout, "said\n")
			h.say(Stderr, "beside\n")
			path := filepath.Join(h.dir, "logs", where)
			require.NoError(t, os.Remove(path))
			require.NoError(t, put(path), name)
			r := h.reader(Position{})
			records, err := r.Read(100)
			require.NoError(t, err, name)
			require.NotContains(t, strings.Join(texts(records), " "), "secret")
			require.Contains(t, strings.Join(texts(records), "\n"), "stderr beside")
			require.NoError(t, r.Since(time.Unix(1, 0)))
			_, err = r.Recent(10)
			require.NoError(t, err)
		}
	}
}

func TestAFileWithAHugeHole(t *testing.T) {
	h := newHome(t)
	h.say(Stdout, "one\n")
	r := h.reader(Position{})
	h.requireNext(r, "1001 stdout one")
	require.NoError(t, os.Truncate(h.path(Stdout), 1<<40))
	records, err := r.Read(10)
	require.NoError(t, err)
	require.NotEmpty(t, records)
	require.EqualValues(t, 1<<40-maxBehind/2-len("one\n"), records[0].Skipped)
	records, err = h.reader(Position{}).Recent(10)
	require.NoError(t, err)
	require.LessOrEqual(t, len(records), 10)
}

// A line takes many times the memory of its end.
func TestNothingButLineEnds(t *testing.T) {
	h := newHome(t)
	h.say(Stdout, strings.Repeat("\n", 3*maxMade))
	r := h.reader(Position{})
	for n := range 3 * maxMade {
		records, err := r.Read(1)
		require.NoError(t, err)
		require.Len(t, records, 1)
		require.EqualValues(t, n+1, records[0].Next.Stdout.Offset)
		require.Less(t, len(r.streams[0].lines), maxMade)
	}
	h.requireNext(r)
}

// Whatever an app writes there and whatever position is asked for: a read ends, and gives lines or an end.
func TestNonsense(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 2))
		h := newHome(t)
		number := func() int64 {
			return []int64{0, 1, -1, random.Int64N(500), int64(random.Uint64()), 1 << 60, 1 << 62}[random.IntN(7)]
		}
		for _, stream := range []string{Stdout, Stderr} {
			for _, path := range []string{h.path(stream), h.path(stream) + logtimes.RotatedSuffix} {
				text := strings.Repeat("some words\n\x00\xff", random.IntN(30))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
				info, err := os.Stat(path)
				require.NoError(t, err)
				times := logtimes.Header{File: info.Sys().(*syscall.Stat_t).Ino, Base: number()}.Append(nil)
				for range random.IntN(20) {
					times = logtimes.Entry{Offset: number(), At: number()}.Append(times)
				}
				require.NoError(t, os.WriteFile(logtimes.Name(path), times, 0o600))
			}
		}
		info, err := os.Stat(h.path(Stdout))
		require.NoError(t, err)
		from := Position{Stdout: Mark{info.Sys().(*syscall.Stat_t).Ino, number(), number()}, Stderr: Mark{7, number(), number()}}
		r := h.reader(from)
		switch random.IntN(3) {
		case 0:
			require.NoError(t, r.Since(time.Unix(0, number())))
		case 1:
			_, err = r.Recent(random.IntN(10))
			require.NoError(t, err)
		}
		for n := 0; ; n++ {
			records, err := r.Read(7)
			require.NoError(t, err)
			require.Less(t, n, 1000, "it ends")
			if len(records) == 0 {
				break
			}
			for _, record := range records {
				require.False(t, record.Time.After(time.Now()))
				require.GreaterOrEqual(t, record.Skipped, int64(UnknownSkip))
			}
		}
	}
}

// A reader that follows an app which has nothing to say makes a few calls of the kernel and nothing else.
func TestIdleReaders(t *testing.T) {
	h := newHome(t)
	h.say(Stdout, "one\n")
	h.say(Stderr, "two\n")
	r := h.reader(Position{})
	now := time.Unix(2000, 0)
	r.now = func() time.Time { return now }
	require.True(t, r.Changed())
	h.read(r)
	require.False(t, r.Changed())
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { r.Changed() }), 4.0)
	now = now.Add(lookEvery)
	require.True(t, r.Changed(), "names are looked at sometimes")
	h.read(r)
	for name, change := range map[string]func(){
		"more":    func() { h.say(Stdout, "more\n") },
		"emptied": func() { require.NoError(t, os.Truncate(h.path(Stdout), 0)) },
		"removed": func() { require.NoError(t, os.Remove(h.path(Stderr))) },
	} {
		require.False(t, r.Changed(), name)
		change()
		require.True(t, r.Changed(), name)
		h.read(r)
	}
}

// BenchmarkIdle is what 200 followed instances cost a second, when nothing is said: 4 times Changed, and half a Read.
func BenchmarkIdle(b *testing.B) {
	dir := b.TempDir()
	readers := make([]*Reader, 200)
	require.NoError(b, os.MkdirAll(filepath.Join(dir, "logs"), 0o700))
	for _, name := range []string{"stdout.log", "stderr.log"} {
		require.NoError(b, os.WriteFile(filepath.Join(dir, "logs", name), []byte("said\n"), 0o600))
	}
	place := Place{Open: func() (*os.Root, error) { return os.OpenRoot(dir) }}
	for n := range readers {
		readers[n] = New(place, Position{})
		defer readers[n].Close()
		_, err := readers[n].Recent(0)
		require.NoError(b, err)
	}
	b.ReportAllocs()
	second := 0
	for b.Loop() {
		second++
		for n, r := range readers {
			for range 4 {
				r.Changed()
			}
			if (n+second)%2 == 0 {
				_, err := r.Read(10)
				require.NoError(b, err)
			}
		}
	}
}

// BenchmarkRead is how fast lines of 100 bytes are read.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	require.NoError(b, os.MkdirAll(filepath.Join(dir, "logs"), 0o700))
	text := strings.Repeat(strings.Repeat("x", 99)+"\n", 100_000)
	require.NoError(b, os.WriteFile(filepath.Join(dir, "logs", "stdout.log"), []byte(text), 0o600))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r := New(Place{Open: func() (*os.Root, error) { return os.OpenRoot(dir) }, Over: true}, Position{})
		for {
			if _, err := r.Read(1000); err != nil {
				break
			}
		}
		r.Close()
	}
}
