package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/archive"
)

// The coverage of goroutines differs from run to run, which makes the fuzzer minimise for ever: fuzz with
// -fuzzminimizetime 10x.

// FuzzUnpackZip unpacks a zip with entries of the fuzzer's choice, each "name NUL target-or-content" and a link when
// the number says so. Whatever they are: nothing may be written outside, and no link may lead there.
func FuzzUnpackZip(f *testing.F) {
	f.Add("a/b\x00text", "l\x00a/../..", "d/x\x00y", uint8(2))
	f.Add("up\x00../..", "a/b\x00c", "out\x00up/..", uint8(5))
	f.Add(`..\x`+"\x00", "x\x00x", "/abs\x00", uint8(0))
	f.Fuzz(func(t *testing.T, one, two, three string, linked uint8) {
		var buffer bytes.Buffer
		writer := zip.NewWriter(&buffer)
		for n, entry := range []string{one, two, three} {
			name, content, _ := strings.Cut(entry, "\x00")
			header := &zip.FileHeader{Name: name}
			header.SetMode(0o644)
			if linked&(1<<n) != 0 {
				header.SetMode(fs.ModeSymlink | 0o777)
			}
			w, err := writer.CreateHeader(header)
			if err != nil {
				t.Skip()
			}
			if _, err := w.Write([]byte(content)); err != nil {
				t.Skip()
			}
		}
		require.NoError(t, writer.Close())
		path := filepath.Join(t.TempDir(), "x.zip")
		require.NoError(t, os.WriteFile(path, buffer.Bytes(), 0o600))
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		_, err := archive.UnpackZip(t.Context(), path, dir, archive.Options{MaxBytes: 1 << 20, MaxEntries: 100})
		requireContained(t, outer, dir, err)
	})
}

// FuzzUnpackZipBytes unpacks any bytes as a zip: it may fail, but in one way only, and without a panic.
func FuzzUnpackZipBytes(f *testing.F) {
	f.Add(zipBytes(f, file("a", "hello"), symlink("l", "a")))
	f.Add([]byte("PK\x03\x04"))
	record := centralHeader("a", 3, 2, 0, 0)
	size := uint64(len(record))
	f.Add(append(bytes.Clone(record), endRecord(1, uint32(size), 0)...))
	f.Add(append(bytes.Clone(record), end64(size, 1, size, 0)...))
	f.Add(end64(0, 1<<40, 1<<40, 1<<40))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.zip")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		_, err := archive.UnpackZip(t.Context(), path, dir, archive.Options{MaxBytes: 1 << 20, MaxEntries: 100})
		requireContained(t, outer, dir, err)
	})
}

// FuzzUnpackTar does the same with a tar.gz of two entries of the fuzzer's.
func FuzzUnpackTar(f *testing.F) {
	f.Add("a", "x", "a/../..", "y", byte(tar.TypeReg), byte(tar.TypeSymlink))
	f.Add("up", "..", "up/x", "", byte(tar.TypeSymlink), byte(tar.TypeReg))
	f.Add("h", "../../etc/passwd", "d", "", byte(tar.TypeLink), byte(tar.TypeDir))
	f.Fuzz(func(t *testing.T, name1, link1, name2, link2 string, type1, type2 byte) {
		var buffer bytes.Buffer
		deflated := gzip.NewWriter(&buffer)
		writer := tar.NewWriter(deflated)
		for _, h := range []*tar.Header{
			{Name: name1, Linkname: link1, Typeflag: type1}, {Name: name2, Linkname: link2, Typeflag: type2},
		} {
			if writer.WriteHeader(h) != nil {
				t.Skip()
			}
		}
		if writer.Close() != nil || deflated.Close() != nil {
			t.Skip()
		}
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		_, err := archive.UnpackTar(t.Context(), &buffer, dir, archive.Options{MaxBytes: 1 << 20, MaxEntries: 100})
		requireContained(t, outer, dir, err)
	})
}

// FuzzUnpackTarBytes unpacks any bytes as what is within a gzip.
func FuzzUnpackTarBytes(f *testing.F) {
	inflated, err := gzip.NewReader(bytes.NewReader(tarGz(f, tar.Header{Name: "a", Size: 100})))
	require.NoError(f, err)
	var seed bytes.Buffer
	_, err = seed.ReadFrom(inflated)
	require.NoError(f, err)
	f.Add(seed.Bytes())
	f.Add(tarBlock("s", tar.TypeGNUSparse, 0, sparse(1<<40)))
	f.Add(append(tarBlock("x", tar.TypeXHeader, 20, nil), "20 GNU.sparse.map=1\n"...))
	f.Add(append(tarBlock("f", tar.TypeReg, 5, nil), tarBlock("f/g", tar.TypeLink, 0, nil)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		var buffer bytes.Buffer
		deflated := gzip.NewWriter(&buffer)
		_, err := deflated.Write(data)
		require.NoError(t, err)
		require.NoError(t, deflated.Close())
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		_, err = archive.UnpackTar(t.Context(), &buffer, dir, archive.Options{MaxBytes: 1 << 20, MaxEntries: 100})
		requireContained(t, outer, dir, err)
	})
}

// requireContained checks that nothing but dir is in outer, that an error is a refusal, and after a success that
// every link, followed by the system, stays in dir.
func requireContained(t *testing.T, outer, dir string, err error) {
	t.Helper()
	entries, readErr := os.ReadDir(outer)
	require.NoError(t, readErr)
	for _, entry := range entries {
		require.Equal(t, filepath.Base(dir), entry.Name())
	}
	if err != nil {
		var refused *archive.Error
		require.ErrorAs(t, err, &refused)
		require.NotEmpty(t, refused.Error())
		return
	}
	top, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		target, err := filepath.EvalSymlinks(path)
		if err == nil && target != top {
			require.True(t, strings.HasPrefix(target, top+"/"), "%q leads to %q", path, target)
		}
		return nil
	}))
}
