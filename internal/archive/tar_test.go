package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/archive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPackAndUnpackKeepWhatADropletNeeds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "app/bin/web", "#!/bin/sh\n", 0o755)
	write(t, dir, "app/secret", "s", 0o400)
	write(t, dir, "app/empty", "", 0o644)
	write(t, dir, "app/caf\xe9", "latin", 0o644)
	write(t, dir, "app/"+strings.Repeat("long/", 60)+"file", "deep", 0o644)
	write(t, dir, "app/big", strings.Repeat("0123456789abcdef", 200_000), 0o644)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "logs"), 0o700))
	require.NoError(t, os.Symlink("bin/web", filepath.Join(dir, "app/web")))
	require.NoError(t, os.Symlink("/usr/bin/env", filepath.Join(dir, "app/env")))
	require.NoError(t, os.Link(filepath.Join(dir, "app/bin/web"), filepath.Join(dir, "app/web2")))
	old := time.Unix(1_500_000_000, 0)
	require.NoError(t, os.Chtimes(filepath.Join(dir, "app/secret"), old, old))
	require.NoError(t, os.Chtimes(filepath.Join(dir, "logs"), old, old))
	require.NoError(t, os.Chmod(filepath.Join(dir, "app/bin"), 0o500))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "app/bin"), 0o700) })

	var packed bytes.Buffer
	result, err := archive.Pack(t.Context(), dir, &packed)
	require.NoError(t, err)
	sum := sha1.Sum(packed.Bytes())
	require.Equal(t, hex.EncodeToString(sum[:]), result.SHA1)
	require.Equal(t, int64(packed.Len()), result.Size)
	require.Empty(t, result.Skipped)

	out := filepath.Join(t.TempDir(), "home")
	unpacked, err := archive.UnpackTar(t.Context(), &packed, out, archive.Options{FromContainer: true})
	require.NoError(t, err)
	require.Equal(t, result.Entries, unpacked.Entries)

	requireMode(t, 0o755, out, "app/bin/web")
	requireMode(t, 0o400, out, "app/secret")
	requireMode(t, fs.ModeDir|0o700, out, "app/bin")
	requireContent(t, "latin", out, "app/caf\xe9")
	requireContent(t, "deep", out, "app/"+strings.Repeat("long/", 60)+"file")
	requireContent(t, "#!/bin/sh\n", out, "app/web")
	target, err := os.Readlink(filepath.Join(out, "app/env"))
	require.NoError(t, err)
	require.Equal(t, "/usr/bin/env", target)
	first, err := os.Stat(filepath.Join(out, "app/bin/web"))
	require.NoError(t, err)
	second, err := os.Stat(filepath.Join(out, "app/web2"))
	require.NoError(t, err)
	require.True(t, os.SameFile(first, second), "a hard link is kept as one")
	for _, name := range []string{"app/secret", "logs"} {
		info, err := os.Stat(filepath.Join(out, name))
		require.NoError(t, err)
		require.Equal(t, old.Unix(), info.ModTime().Unix(), name)
	}
}

func TestPackIsInOrderAndRepeatable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"z", "b/2", "b/1", "a", "b.txt"} {
		write(t, dir, name, name, 0o644)
	}
	var one, two bytes.Buffer
	first, err := archive.Pack(t.Context(), dir, &one)
	require.NoError(t, err)
	second, err := archive.Pack(t.Context(), dir, &two)
	require.NoError(t, err)
	require.Equal(t, first, second)

	inflated, err := gzip.NewReader(&one)
	require.NoError(t, err)
	var names []string
	for reader := tar.NewReader(inflated); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		names = append(names, header.Name)
	}
	require.Equal(t, []string{"a", "b/", "b/1", "b/2", "b.txt", "z"}, names)
}

func TestPackSkipsWhatCannotTravel(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "dea")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	require.NoError(t, err)
	defer listener.Close()
	write(t, dir, "file", "f", 0o644)
	packed, err := archive.Pack(t.Context(), dir, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"pipe", "socket"}, packed.Skipped)
	require.Equal(t, 1, packed.Entries)
}

func TestPackFileLeavesNoPart(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	write(t, dir, "a", "a", 0o644)
	file := filepath.Join(out, "droplet.tgz")
	packed, err := archive.PackFile(t.Context(), dir, file)
	require.NoError(t, err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, packed.Size, info.Size())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = archive.PackFile(ctx, dir, filepath.Join(out, "second.tgz"))
	require.ErrorIs(t, err, context.Canceled)
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

type failingWriter struct{ after int }

var errFull = syscall.ENOSPC

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.after -= len(p); w.after < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestPackReportsAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	random := make([]byte, 4<<20)
	for i := range random {
		random[i] = byte(i * i >> 3)
	}
	write(t, dir, "a", string(random), 0o644)
	_, err := archive.Pack(t.Context(), dir, &failingWriter{after: 1000})
	require.ErrorIs(t, err, errFull)
}

func tarGz(tb testing.TB, headers ...tar.Header) []byte {
	tb.Helper()
	var buffer bytes.Buffer
	deflated := gzip.NewWriter(&buffer)
	writer := tar.NewWriter(deflated)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		require.NoError(tb, writer.WriteHeader(&h))
		_, err := writer.Write(bytes.Repeat([]byte("x"), int(h.Size)))
		require.NoError(tb, err)
	}
	require.NoError(tb, writer.Close())
	require.NoError(tb, deflated.Close())
	return buffer.Bytes()
}

func TestUnpackTarRefuses(t *testing.T) {
	t.Parallel()
	link := func(name, target string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
	}
	tests := map[string]struct {
		headers []tar.Header
		cause   error
		words   string
	}{
		"climbs":            {[]tar.Header{{Name: "../evil"}}, archive.ErrOutside, `"../evil" leaves`},
		"absolute":          {[]tar.Header{{Name: "/evil"}}, archive.ErrOutside, "absolute"},
		"backslash":         {[]tar.Header{{Name: `..\evil`}}, archive.ErrOutside, "leaves"},
		"not UTF-8":         {[]tar.Header{{Name: "caf\xe9", Format: tar.FormatGNU}}, archive.ErrName, "UTF-8"},
		"absolute link":     {[]tar.Header{link("l", "/etc")}, archive.ErrLink, "leads out"},
		"climbing link":     {[]tar.Header{link("l", "..")}, archive.ErrLink, "leads out"},
		"through a link":    {[]tar.Header{link("a/b", ".."), link("out", "a/b/..")}, archive.ErrLink, "leads out"},
		"under a link":      {[]tar.Header{link("l", "d"), {Name: "l/x"}}, archive.ErrConflict, "twice"},
		"under a file":      {[]tar.Header{{Name: "f"}, {Name: "f/x"}}, archive.ErrConflict, "twice"},
		"twice":             {[]tar.Header{{Name: "f"}, {Name: "./f"}}, archive.ErrConflict, "twice"},
		"link twice":        {[]tar.Header{link("l", "a"), link("l", "b")}, archive.ErrConflict, "twice"},
		"hard link out":     {[]tar.Header{{Typeflag: tar.TypeLink, Name: "h", Linkname: "../../etc/passwd"}}, archive.ErrLink, "leads out"},
		"hard link abs":     {[]tar.Header{{Typeflag: tar.TypeLink, Name: "h", Linkname: "/etc/passwd"}}, archive.ErrLink, "leads out"},
		"hard link nowhere": {[]tar.Header{{Typeflag: tar.TypeLink, Name: "h", Linkname: "none"}}, archive.ErrLink, "not in the archive"},
		"hard link to link": {[]tar.Header{link("l", "x"), {Typeflag: tar.TypeLink, Name: "h", Linkname: "l"}}, archive.ErrLink, "not in the archive"},
		"device":            {[]tar.Header{{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}}, archive.ErrSpecial, "neither"},
		"block device":      {[]tar.Header{{Typeflag: tar.TypeBlock, Name: "sda"}}, archive.ErrSpecial, "neither"},
		"pipe":              {[]tar.Header{{Typeflag: tar.TypeFifo, Name: "p"}}, archive.ErrSpecial, "neither"},
		"itself":            {[]tar.Header{link(".", "x")}, archive.ErrName, "itself"},
		"too many bytes":    {[]tar.Header{{Name: "a", Size: 600}, {Name: "b", Size: 600}}, archive.ErrTooLarge, "1.0K"},
		"many directories":  {[]tar.Header{{Name: "1/2/3/4/5"}}, archive.ErrTooLarge, "4 entries"},
		"too many entries":  {[]tar.Header{{Name: "1"}, {Name: "2"}, {Name: "3"}, {Name: "4"}, {Name: "5"}}, archive.ErrTooLarge, "4 entries"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outer := t.TempDir()
			_, err := archive.UnpackTar(t.Context(), bytes.NewReader(tarGz(t, test.headers...)),
				filepath.Join(outer, "in"), archive.Options{MaxBytes: 1024, MaxEntries: 4})
			requireRefused(t, err, test.cause, test.words)
			entries, err := os.ReadDir(outer)
			require.NoError(t, err)
			require.Len(t, entries, 1, "something was written beside the directory")
		})
	}
}

// A droplet's links may lead out of it, but nothing is written through them.
func TestUnpackTarFromContainerFollowsNoLink(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	data := tarGz(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: outside}, tar.Header{Name: "l/x"})
	_, err := archive.UnpackTar(t.Context(), bytes.NewReader(data), dir, archive.Options{FromContainer: true})
	require.ErrorIs(t, err, archive.ErrConflict)
	require.NoFileExists(t, filepath.Join(outside, "x"))
}

func TestUnpackTarRefusesWhatIsNoTarGz(t *testing.T) {
	t.Parallel()
	good := tarGz(t, tar.Header{Name: "a", Size: 10_000}, tar.Header{Name: "b", Size: 10})
	broken := bytes.Clone(good)
	copy(broken[20:], "\xff\xff\xff\xff\xff\xff\xff\xff")
	badSum := bytes.Clone(good)
	badSum[len(badSum)-8] ^= 0xff
	var textGz bytes.Buffer
	deflated := gzip.NewWriter(&textGz)
	_, err := deflated.Write([]byte(strings.Repeat("this is no tar. ", 100)))
	require.NoError(t, err)
	require.NoError(t, deflated.Close())
	tests := map[string]struct {
		data  []byte
		cause error
	}{
		"text":                {[]byte("hello, I am a text"), archive.ErrNotArchive},
		"empty":               {nil, archive.ErrNotArchive},
		"compressed text":     {textGz.Bytes(), archive.ErrNotArchive},
		"cut off":             {good[:len(good)/2], archive.ErrDamaged},
		"without its trailer": {good[:len(good)-8], archive.ErrDamaged},
		"wrong checksum":      {badSum, archive.ErrDamaged},
		"broken inside":       {broken, archive.ErrDamaged},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := archive.UnpackTar(t.Context(), bytes.NewReader(test.data), t.TempDir(), archive.Options{})
			requireRefused(t, err, test.cause, "")
		})
	}
}

// A fault of the machine's must not be told to the user as a fault of the archive.
func TestUnpackTarTellsTheMachinesFaults(t *testing.T) {
	t.Parallel()
	data := tarGz(t, tar.Header{Name: "a", Size: 10_000})
	from := io.MultiReader(bytes.NewReader(data[:40]), &failingReader{})
	_, err := archive.UnpackTar(t.Context(), from, t.TempDir(), archive.Options{})
	require.ErrorIs(t, err, syscall.EIO)
	var refused *archive.Error
	require.NotErrorAs(t, err, &refused)
}

type failingReader struct{}

func (*failingReader) Read([]byte) (int, error) { return 0, syscall.EIO }

func TestFormatSize(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64]string{
		0: "0", 512: "512", 1023: "1023", 1024: "1.0K", 1025: "1.1K", 4096: "4.0K", 10 << 10: "10K", 10<<10 + 1: "11K",
		1<<20 - 1: "1.0M", 12 << 20: "12M", 1 << 30: "1.0G", 1<<63 - 1: "8.0E",
	} {
		require.Equal(t, want, archive.FormatSize(bytes), "%d", bytes)
	}
}

func write(tb testing.TB, dir, name, content string, mode fs.FileMode) {
	tb.Helper()
	path := filepath.Join(dir, name)
	require.NoError(tb, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(tb, os.WriteFile(path, []byte(content), mode))
}
