package logtimes

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const aFile = 4711

// write makes times of stdout.log, and opens them.
func write(t *testing.T, header Header, entries ...Entry) (root *os.Root, path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, ".stdout.times")
	text := header.Append(nil)
	for _, e := range entries {
		text = e.Append(text)
	}
	require.NoError(t, os.WriteFile(path, text, 0o600))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return root, path
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

func entry(offset, seconds int64) Entry { return Entry{offset, at(seconds).UnixNano()} }

func TestName(t *testing.T) {
	require.Equal(t, "logs/.stdout.times", Name("logs/stdout.log"))
	require.Equal(t, "/home/vcap/logs/.stderr.times.1", Name("/home/vcap/logs/stderr.log.1"))
}

func TestTimesOfBytes(t *testing.T) {
	root, path := write(t, Header{File: aFile, Base: 50}, entry(10, 100), entry(20, 101), entry(40, 103))
	index := Open(root, "stdout.log", aFile)
	defer index.Close()
	require.Equal(t, int64(50), index.Base)
	for offset, want := range map[int64]int64{0: 100, 9: 100, 10: 100, 19: 100, 20: 101, 39: 101, 40: 103, 4000: 103} {
		got, ok := index.At(offset, at(1000))
		require.True(t, ok)
		require.Equal(t, at(want), got, offset)
	}
	got, _ := index.At(40, at(102))
	require.Equal(t, at(102), got, "nothing comes from the future")
	for seconds, want := range map[int64]int64{0: 10, 100: 10, 101: 20, 102: 40, 103: 40} {
		offset, ok := index.Since(at(seconds))
		require.True(t, ok)
		require.Equal(t, want, offset, seconds)
	}
	_, ok := index.Since(at(104))
	require.False(t, ok)

	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(append(entry(60, 104).Append(nil), "torn"...))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.True(t, index.Refresh())
	got, _ = index.At(60, at(1000))
	require.Equal(t, at(104), got, "what was written since")
	require.Equal(t, 4, index.Len(), "what is torn is none")
}

func TestManyTimes(t *testing.T) {
	entries := make([]Entry, 10*blockEntries+7)
	for n := range entries {
		entries[n] = entry(int64(3*n), int64(1000+n))
	}
	root, _ := write(t, Header{File: aFile}, entries...)
	index := Open(root, "stdout.log", aFile)
	defer index.Close()
	for range 10_000 {
		offset := rand.Int64N(int64(3*len(entries)) + 10)
		got, ok := index.At(offset, at(1_000_000))
		require.True(t, ok)
		require.Equal(t, at(1000+min(offset/3, int64(len(entries)-1))), got, offset)
	}
	for offset := range int64(3 * len(entries)) {
		got, _ := index.At(offset, at(1_000_000))
		require.Equal(t, at(1000+offset/3), got, "one after the other")
	}
}

// A header tells whose times they are: the files are moved aside one after the other.
func TestWhoseTimesTheyAre(t *testing.T) {
	root, path := write(t, Header{File: aFile}, entry(0, 100))
	require.Nil(t, Open(root, "stdout.log", aFile+1))
	require.NoError(t, os.Rename(path, path+".1"))
	index := Open(root, "stdout.log", aFile)
	require.NotNil(t, index, "by whatever name")
	defer index.Close()
	require.NoError(t, os.WriteFile(path+".1", Header{File: aFile + 1}.Append(nil), 0o600))
	require.False(t, index.Refresh())
}

func TestOddTimes(t *testing.T) {
	random := make([]byte, 100_000)
	for n := range random {
		random[n] = byte(rand.Int())
	}
	for name, put := range map[string]func(path string) error{
		"nothing":  os.Remove,
		"empty":    func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"torn":     func(path string) error { return os.WriteFile(path, Header{File: aFile}.Append(nil)[:20], 0o600) },
		"garbage":  func(path string) error { return os.WriteFile(path, random, 0o600) },
		"negative": func(path string) error { return os.WriteFile(path, Header{aFile, -1}.Append(nil), 0o600) },
		"a fifo":   func(path string) error { _ = os.Remove(path); return unix.Mkfifo(path, 0o600) },
		"a directory": func(path string) error {
			_ = os.Remove(path)
			return os.Mkdir(path, 0o700)
		},
		"a link out": func(path string) error {
			_ = os.Remove(path)
			return os.Symlink("/proc/self/maps", path)
		},
	} {
		root, path := write(t, Header{File: aFile}, entry(0, 100))
		require.NoError(t, put(path), name)
		index := Open(root, "stdout.log", aFile)
		require.Nil(t, index, name)
		_, ok := index.At(0, at(1))
		require.False(t, ok, name)
		index.Close()
	}
}

// Whatever stands in the entries, asking costs a bounded number of small reads.
func TestEntriesWithoutSense(t *testing.T) {
	entries := make([]Entry, 5000)
	for n := range entries {
		entries[n] = Entry{int64(rand.Uint64()), int64(rand.Uint64())}
	}
	root, path := write(t, Header{File: aFile}, entries...)
	index := Open(root, "stdout.log", aFile)
	defer index.Close()
	ask := func() {
		for range 1000 {
			if got, ok := index.At(rand.Int64(), at(5000)); ok {
				require.False(t, got.After(at(5000)))
				require.True(t, got.After(at(0)))
			}
			if offset, ok := index.Since(time.Unix(0, rand.Int64())); ok {
				require.GreaterOrEqual(t, offset, int64(0))
			}
		}
	}
	ask()
	require.NoError(t, os.Truncate(path, 1<<40)) // a hole of zeros
	require.True(t, index.Refresh())
	require.Equal(t, maxEntries, index.Len())
	ask()
	require.NoError(t, os.Truncate(path, HeaderSize))
	require.True(t, index.Refresh())
	_, ok := index.At(0, at(5000))
	require.False(t, ok)
}

// An app can write lines by the million, of which none may cost a search of its own: neither where the entries are in no
// order, nor where the first is of what comes after all of them.
func TestASearchIsNotMadeForEachLine(t *testing.T) {
	const lines = 10_000
	disordered := make([]Entry, 5*blockEntries)
	for n := range disordered {
		disordered[n] = entry(0, int64(100+n))
	}
	disordered[len(disordered)/2].Offset = 1 << 50 // where a search begins
	ahead := make([]Entry, 5*blockEntries)
	for n := range ahead {
		ahead[n] = entry(1<<40+int64(n), int64(100+n))
	}
	for name, entries := range map[string][]Entry{"in no order": disordered, "ahead of all": ahead} {
		root, _ := write(t, Header{File: aFile}, entries...)
		index := Open(root, "stdout.log", aFile)
		defer index.Close()
		first, known := index.At(0, at(1_000_000))
		require.NoError(t, index.file.Close(), "what is read from now on is missing")
		for offset := range int64(lines) {
			got, ok := index.At(offset, at(1_000_000))
			require.Equal(t, known, ok, name)
			require.Equal(t, first, got, name)
		}
	}
}

func TestEntriesMakeSenseAgain(t *testing.T) {
	root, path := write(t, Header{File: aFile}, entry(50, 1), entry(0, 2), entry(50, 3))
	index := Open(root, "stdout.log", aFile)
	defer index.Close()
	index.senseless = true // as a search finds where there are more
	_, ok := index.At(10, at(1000))
	require.False(t, ok)
	require.NoError(t, os.WriteFile(path, entry(0, 5).Append(Header{File: aFile, Base: 7}.Append(nil)), 0o600))
	require.True(t, index.Refresh())
	got, ok := index.At(10, at(1000))
	require.True(t, ok)
	require.Equal(t, at(5), got)
}

func TestKeepTheEnd(t *testing.T) {
	root, path := write(t, Header{File: aFile, Base: 50}, entry(0, 100), entry(20, 101), entry(40, 103))
	index := Open(root, "stdout.log", aFile)
	defer index.Close()
	require.NoError(t, index.Keep(path, 30, 1))
	kept := Open(root, "stdout.log", 1)
	defer kept.Close()
	require.Equal(t, Header{File: 1, Base: 80}, kept.Header)
	for offset, want := range map[int64]int64{0: 101, 9: 101, 10: 103} {
		got, _ := kept.At(offset, at(1000))
		require.Equal(t, at(want), got)
	}
}

func TestKeptTimesAreBounded(t *testing.T) {
	entries := make([]Entry, 3*mostKept)
	for n := range entries {
		entries[n] = entry(int64(n), int64(n+1))
	}
	root, path := write(t, Header{File: aFile}, entries...)
	index := Open(root, "stdout.log", aFile)
	defer index.Close()
	require.NoError(t, index.Keep(path, 0, 1))
	kept := Open(root, "stdout.log", 1)
	defer kept.Close()
	require.LessOrEqual(t, kept.Len(), mostKept)
	got, _ := kept.At(1000, at(1_000_000))
	require.InDelta(t, 1001, got.Unix(), 4)
}
