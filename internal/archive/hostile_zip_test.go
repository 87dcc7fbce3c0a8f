package archive_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/archive"
)

// centralHeader is a record of a zip's directory, for an entry whose content of so many bytes is stored at offset.
func centralHeader(name string, extra, comment, size int, offset uint32) []byte {
	record := binary.LittleEndian.AppendUint32(nil, 0x02014b50)
	record = append(record, 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	record = binary.LittleEndian.AppendUint32(record, uint32(size))
	record = binary.LittleEndian.AppendUint32(record, uint32(size))
	record = binary.LittleEndian.AppendUint16(record, uint16(len(name)))
	record = binary.LittleEndian.AppendUint16(record, uint16(extra))
	record = binary.LittleEndian.AppendUint16(record, uint16(comment))
	record = append(record, 0, 0, 0, 0)
	record = binary.LittleEndian.AppendUint32(record, 0o100644<<16)
	record = binary.LittleEndian.AppendUint32(record, offset)
	record = append(record, name...)
	return append(record, make([]byte, extra+comment)...)
}

// endRecord is the end of a zip.
func endRecord(entries uint16, size, offset uint32) []byte {
	record := append([]byte("PK\x05\x06"), 0, 0, 0, 0)
	record = binary.LittleEndian.AppendUint16(record, entries)
	record = binary.LittleEndian.AppendUint16(record, entries)
	record = binary.LittleEndian.AppendUint32(record, size)
	record = binary.LittleEndian.AppendUint32(record, offset)
	return append(record, 0, 0)
}

// end64 are the records of the end of a zip64 that begin at so many bytes.
func end64(at, entries, size, offset uint64) []byte {
	record := append([]byte("PK\x06\x06"), make([]byte, 20)...)
	for _, n := range []uint64{entries, entries, size, offset} {
		record = binary.LittleEndian.AppendUint64(record, n)
	}
	record = append(record, "PK\x06\x07\x00\x00\x00\x00"...)
	record = binary.LittleEndian.AppendUint64(record, at)
	record = append(record, 1, 0, 0, 0)
	return append(record, endRecord(math.MaxUint16, math.MaxUint32, math.MaxUint32)...)
}

// directoryZip writes a zip that is nothing but a directory: records by number, then what end makes of their length.
func directoryZip(t *testing.T, records int, record func(n int) []byte, end func(size uint64) []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.zip")
	f, err := os.Create(path)
	require.NoError(t, err)
	w := bufio.NewWriterSize(f, 1<<20)
	size := 0
	for n := range records {
		written, err := w.Write(record(n))
		require.NoError(t, err)
		size += written
	}
	_, err = w.Write(end(uint64(size)))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	require.NoError(t, f.Close())
	return path
}

// allocated is how many bytes do allocates, which is more than it ever holds.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A directory of millions of entries is known for what it is before it is in memory, whatever the zip's end says.
func TestUnpackZipReadsNoEndlessDirectory(t *testing.T) {
	const records, mostBytes = 1_000_000, 4 << 20
	short := func(int) []byte { return centralHeader("a", 0, 0, 0, 0) }
	for name, c := range map[string]struct {
		records int
		record  func(int) []byte
		end     func(size uint64) []byte
		words   string
	}{
		"honest": {records, short, func(n uint64) []byte { return end64(n, records, n, 0) }, "500000 entries"},
		"claims few": {
			records, short, func(n uint64) []byte { return endRecord(records%65536, uint32(n), 0) }, "500000 entries",
		},
		"claims one, and a later beginning": {
			records, short, func(n uint64) []byte { return end64(n, 1, n-470, 470) }, "500000 entries",
		},
		"claims all there can be": {
			1, short, func(n uint64) []byte { return end64(n, math.MaxUint64, n, 0) }, "500000 entries",
		},
		"long names": {
			3000, func(int) []byte { return centralHeader(strings.Repeat("n", 65535), 0, 0, 0, 0) },
			func(n uint64) []byte { return endRecord(3000, uint32(n), 0) }, "names in the archive",
		},
		"extra fields and comments": {
			1500, func(int) []byte { return centralHeader("a", 65535, 65535, 0, 0) },
			func(n uint64) []byte { return endRecord(1500, uint32(n), 0) }, "names in the archive",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := directoryZip(t, c.records, c.record, c.end)
			var err error
			used := allocated(func() {
				_, err = archive.UnpackZip(t.Context(), path, filepath.Join(t.TempDir(), "in"), archive.Options{})
			})
			requireRefused(t, err, archive.ErrTooLarge, c.words)
			require.Less(t, used, uint64(mostBytes))
			t.Logf("%d bytes allocated", used)
		})
	}
}

// What the entries that are allowed take is about a kilobyte each.
func TestUnpackZipNeedsAKilobyteAnEntry(t *testing.T) {
	const records, entryBytes = 100_000, 1 << 10
	path := directoryZip(t, records, func(n int) []byte {
		if n == records-1 {
			return centralHeader("../out", 0, 0, 0, 0)
		}
		return centralHeader(fmt.Sprintf("%0100d/%0100d", n%1000, n), 0, 0, 0, 0)
	}, func(n uint64) []byte { return end64(n, records, n, 0) })
	var err error
	used := allocated(func() {
		_, err = archive.UnpackZip(t.Context(), path, filepath.Join(t.TempDir(), "in"), archive.Options{MaxEntries: records})
	})
	requireRefused(t, err, archive.ErrOutside, "leaves")
	require.Less(t, used, uint64(records*entryBytes))
	t.Logf("%d bytes an entry", used/records)
}

func TestUnpackZipHearsNoLies(t *testing.T) {
	t.Parallel()
	record := centralHeader("a", 0, 0, 0, 0)
	size := uint64(len(record))
	for name, c := range map[string]struct {
		end   []byte
		cause error
	}{
		"directory before the file": {endRecord(1, 1000, 0), archive.ErrDamaged},
		"offset behind the file":    {endRecord(1, uint32(size), 1<<31), archive.ErrDamaged},
		"too few":                   {endRecord(0, uint32(size), 0), archive.ErrDamaged},
		"too many":                  {endRecord(2, uint32(size), 0), archive.ErrDamaged},
		"64: end elsewhere":         {end64(5, 1, size, 0), archive.ErrDamaged},
		"64: end behind the file":   {end64(1<<40, 1, size, 0), archive.ErrDamaged},
		"64: end far behind":        {end64(math.MaxUint64, 1, size, 0), archive.ErrDamaged},
		"64: negative size":         {end64(size, 1, 1<<63, 0), archive.ErrDamaged},
		"64: negative offset":       {end64(size, 1, size, 1<<63), archive.ErrDamaged},
		"64: size of everything":    {end64(size, 1, math.MaxUint64, 0), archive.ErrDamaged},
		"cut-off comment":           {append(endRecord(1, uint32(size), 0)[:20], 9, 0), archive.ErrNotArchive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := directoryZip(t, 1, func(int) []byte { return record }, func(uint64) []byte { return c.end })
			_, err := archive.UnpackZip(t.Context(), path, filepath.Join(t.TempDir(), "in"), archive.Options{})
			requireRefused(t, err, c.cause, "")
		})
	}
}

// Programs that unpack themselves have a zip behind them, whose offsets may or may not count them; and any zip may
// have a comment.
func TestUnpackZipBehindSomethingElse(t *testing.T) {
	t.Parallel()
	plain := zipBytes(t, file("a", "hello"), file("b/c", "world"))
	commented := append(bytes.Clone(plain[:len(plain)-2]), 0xff, 0xff)
	commented = append(commented, bytes.Repeat([]byte("PK"), 65535)[:65535]...)
	script := "#!/bin/sh\nexec java -jar \"$0\"\n"
	shifted := append([]byte(script), plain...)
	directory := bytes.Index(shifted, []byte("PK\x01\x02"))
	// Each with the offset that counts what stands before.
	counted := bytes.Clone(shifted)
	for at := directory; at >= 0 && at < len(counted)-22; {
		binary.LittleEndian.PutUint32(counted[at+42:], binary.LittleEndian.Uint32(counted[at+42:])+uint32(len(script)))
		next := bytes.Index(counted[at+4:], []byte("PK\x01\x02"))
		if next < 0 {
			break
		}
		at += 4 + next
	}
	binary.LittleEndian.PutUint32(counted[len(counted)-6:], uint32(directory))
	for name, data := range map[string][]byte{
		"plain": plain, "longest comment": commented, "shifted": shifted, "counted": counted,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.zip")
			require.NoError(t, os.WriteFile(path, data, 0o600))
			dir := t.TempDir()
			_, err := archive.UnpackZip(t.Context(), path, dir, archive.Options{})
			require.NoError(t, err)
			requireContent(t, "hello", dir, "a")
			requireContent(t, "world", dir, "b/c")
		})
	}
}

// Bombs of entries that share their bytes, with the true sizes and with lies.
func TestUnpackZipRefusesSharedContent(t *testing.T) {
	t.Parallel()
	const kernel = 1 << 20
	for name, claimed := range map[string]uint32{"honest": kernel, "lying": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := zipBytes(t, file("a", strings.Repeat("\x00", kernel)))
			at := bytes.Index(data, []byte("PK\x01\x02"))
			record := bytes.Clone(data[at : at+46])
			binary.LittleEndian.PutUint32(record[24:], claimed)
			binary.LittleEndian.PutUint16(record[28:], 4)
			binary.LittleEndian.PutUint16(record[30:], 0)
			bomb := bytes.Clone(data[:at])
			for n := range 1000 {
				bomb = append(append(bomb, record...), fmt.Sprintf("%04d", n)...)
			}
			bomb = append(bomb, endRecord(1000, 50*1000, uint32(at))...)
			path := filepath.Join(t.TempDir(), "x.zip")
			require.NoError(t, os.WriteFile(path, bomb, 0o600))
			dir := filepath.Join(t.TempDir(), "in")
			_, err := archive.UnpackZip(t.Context(), path, dir, archive.Options{})
			requireRefused(t, err, archive.ErrDamaged, "")
			require.NoDirExists(t, dir)
		})
	}
}

func TestUnpackZipDropsWhatGivesPower(t *testing.T) {
	t.Parallel()
	const special = fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	dir := t.TempDir()
	_, err := archive.UnpackZip(t.Context(), makeZip(t,
		zipEntry{name: "d/", mode: fs.ModeDir | special | 0o777}, zipEntry{name: "f", mode: special | 0o755},
		file("Case", "1"), file("case", "2"), file("C:drive", "3"), file("con", "4"), file("dot.", "5"),
		zipEntry{name: "./"},
	), dir, archive.Options{})
	require.NoError(t, err)
	requireMode(t, fs.ModeDir|0o777, dir, "d")
	requireMode(t, 0o755, dir, "f")
	for name, content := range map[string]string{"Case": "1", "case": "2", "C:drive": "3", "con": "4", "dot.": "5"} {
		requireContent(t, content, dir, name)
	}
}

func TestUnpackZipDeep(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "in")
	_, err := archive.UnpackZip(t.Context(), makeZip(t, file(strings.Repeat("d/", 200)+"f", "x")), dir, archive.Options{})
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	_, err = archive.UnpackZip(t.Context(), makeZip(t, file(strings.Repeat("d/", 32_000)+"f", "x")), dir, archive.Options{})
	requireRefused(t, err, archive.ErrName, "too long")
	_, err = archive.UnpackZip(t.Context(), makeZip(t, file(strings.Repeat("d/", 300)+"f", "x")), dir, archive.Options{})
	requireRefused(t, err, archive.ErrName, "deep")
}

// Links through links through links: to find out where they lead must not take for ever.
func TestUnpackZipFollowsOnlySoManyLinks(t *testing.T) {
	t.Parallel()
	var entries []zipEntry
	for n := range 240 {
		entries = append(entries, symlink(fmt.Sprintf("l%d", n), strings.Repeat("a/../", 800)+fmt.Sprintf("l%d", n+1)))
	}
	begin := time.Now()
	_, err := archive.UnpackZip(t.Context(), makeZip(t, entries...), filepath.Join(t.TempDir(), "in"), archive.Options{})
	requireRefused(t, err, archive.ErrLink, "too many links")
	require.Less(t, time.Since(begin), time.Minute)
}
