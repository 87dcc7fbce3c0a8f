package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/archive"
)

// tarBlock is a header as no writer of Go's would write it.
func tarBlock(name string, kind byte, size int64, change func(block []byte)) []byte {
	block := make([]byte, 512)
	copy(block, name)
	copy(block[100:], "0000644\x00")
	copy(block[124:], fmt.Sprintf("%011o\x00", size))
	copy(block[136:], "00000000000\x00")
	block[156] = kind
	copy(block[257:], "ustar  \x00")
	if change != nil {
		change(block)
	}
	copy(block[148:], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	return block
}

// sparse makes a block that of a file of size bytes of which none are in the tar.
func sparse(size uint64) func([]byte) {
	return func(block []byte) {
		number := func(at int) {
			block[at] = 0x80
			binary.BigEndian.PutUint64(block[at+4:], size)
		}
		number(386) // where the only piece is
		copy(block[398:], "00000000000\x00")
		number(483) // the whole
	}
}

func gzipped(t *testing.T, members ...[]byte) []byte {
	t.Helper()
	var buffer bytes.Buffer
	for _, member := range members {
		w := gzip.NewWriter(&buffer)
		_, err := w.Write(member)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	return buffer.Bytes()
}

func TestUnpackTarStopsBombs(t *testing.T) {
	end := make([]byte, 1024)
	globals := make([]byte, 0, 8<<20)
	global := tarBlock("g", tar.TypeXGlobalHeader, 0, nil)
	for len(globals) < 8<<20 {
		globals = append(globals, global...)
	}
	skipped := append(tarBlock("d", tar.TypeDir, 1<<30, nil), make([]byte, 8<<20)...)
	for name, c := range map[string]struct {
		tar   []byte
		cause error
		words string
	}{
		"sparse":          {append(tarBlock("s", tar.TypeGNUSparse, 0, sparse(1<<40)), end...), archive.ErrTooLarge, "1.0M"},
		"claims much":     {append(tarBlock("f", tar.TypeReg, 1<<32, nil), end...), archive.ErrTooLarge, "1.0M"},
		"a huge header":   {append(tarBlock("p", tar.TypeXHeader, 1<<30, nil), make([]byte, 8<<20)...), archive.ErrDamaged, ""},
		"a huge name":     {append(tarBlock("p", tar.TypeGNULongName, 1<<30, nil), make([]byte, 8<<20)...), archive.ErrDamaged, ""},
		"only headers":    {globals, archive.ErrTooLarge, "1.0M"},
		"behind its end":  {make([]byte, 8<<20), archive.ErrTooLarge, "1.0M"},
		"a fat directory": {skipped, archive.ErrTooLarge, "1.0M"},
	} {
		t.Run(name, func(t *testing.T) {
			data := gzipped(t, c.tar)
			dir := filepath.Join(t.TempDir(), "in")
			var err error
			used := allocated(func() {
				_, err = archive.UnpackTar(t.Context(), bytes.NewReader(data), dir, archive.Options{MaxBytes: 1 << 20, MaxEntries: 100})
			})
			requireRefused(t, err, c.cause, c.words)
			const most = 32 << 20
			require.Less(t, used, uint64(most))
			t.Logf("%d bytes allocated", used)
		})
	}
}

// Names of the greatest length are not kept in memory by the hundred thousand.
func TestUnpackTarKeepsOnlySoManyNames(t *testing.T) {
	t.Parallel()
	var headers []tar.Header
	for n := range 600 {
		headers = append(headers, tar.Header{
			Typeflag: tar.TypeSymlink, Name: fmt.Sprintf("l%d", n), Linkname: strings.Repeat("./", 2000) + "x",
		})
	}
	_, err := archive.UnpackTar(t.Context(), bytes.NewReader(tarGz(t, headers...)), t.TempDir(), archive.Options{MaxEntries: 1000})
	requireRefused(t, err, archive.ErrTooLarge, "names")
}

func TestUnpackTarHardLinksTakeNoSpace(t *testing.T) {
	t.Parallel()
	headers := []tar.Header{{Name: "f", Size: 1000}}
	for n := range 1000 {
		headers = append(headers, tar.Header{Typeflag: tar.TypeLink, Name: fmt.Sprint(n), Linkname: "f"})
	}
	data := tarGz(t, headers...)
	unpacked, err := archive.UnpackTar(t.Context(), bytes.NewReader(data), t.TempDir(), archive.Options{MaxBytes: 1000})
	require.NoError(t, err)
	require.Equal(t, archive.Unpacked{Entries: 1001, Bytes: 1000}, unpacked)
	_, err = archive.UnpackTar(t.Context(), bytes.NewReader(data), t.TempDir(), archive.Options{MaxEntries: 1000})
	requireRefused(t, err, archive.ErrTooLarge, "1000 entries")
}

func TestUnpackTarTakesSeveralMembers(t *testing.T) {
	t.Parallel()
	whole := append(tarBlock("f", tar.TypeReg, 5, nil), append([]byte("hello"), make([]byte, 507+1024)...)...)
	empty := bytes.Repeat(gzipped(t, nil), 200_000)
	data := append(append(gzipped(t, whole[:100], whole[100:514]), empty...), gzipped(t, whole[514:])...)
	dir := t.TempDir()
	begin := time.Now()
	_, err := archive.UnpackTar(t.Context(), bytes.NewReader(data), dir, archive.Options{})
	require.NoError(t, err)
	requireContent(t, "hello", dir, "f")
	require.Less(t, time.Since(begin), time.Minute)
	t.Logf("200000 empty members in %v", time.Since(begin))
	_, err = archive.UnpackTar(t.Context(), bytes.NewReader(append(data, "more"...)), t.TempDir(), archive.Options{})
	requireRefused(t, err, archive.ErrDamaged, "")
}

// Members with nothing in them are read without end before anything comes out.
func TestUnpackTarEndsWithItsContextAmongEmptyMembers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	endless := &repeat{what: gzipped(t, nil)}
	_, err := archive.UnpackTar(ctx, endless, t.TempDir(), archive.Options{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

type repeat struct {
	what []byte
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.what[r.at:])
	r.at = (r.at + n) % len(r.what)
	return n, nil
}

func TestUnpackTarDropsWhatGivesPower(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := tarGz(t, tar.Header{Name: "f", Mode: 0o7755}, tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o7777},
		tar.Header{Name: "F"}, tar.Header{Name: strings.Repeat("deep/", 200) + "f"})
	_, err := archive.UnpackTar(t.Context(), bytes.NewReader(data), dir, archive.Options{})
	require.NoError(t, err)
	requireMode(t, 0o755, dir, "f")
	requireMode(t, fs.ModeDir|0o777, dir, "d")
	require.NoError(t, os.RemoveAll(dir))
}
