package archive_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/archive"
)

// zipEntry is one entry of a zip that a test makes.
type zipEntry struct {
	name    string
	mode    fs.FileMode
	content string
	windows bool
}

func file(name, content string) zipEntry { return zipEntry{name: name, mode: 0o644, content: content} }

func symlink(name, target string) zipEntry {
	return zipEntry{name: name, mode: fs.ModeSymlink | 0o777, content: target}
}

func makeZip(tb testing.TB, entries ...zipEntry) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "package.zip")
	require.NoError(tb, os.WriteFile(path, zipBytes(tb, entries...), 0o600))
	return path
}

func zipBytes(tb testing.TB, entries ...zipEntry) []byte {
	tb.Helper()
	var buffer bytes.Buffer
	writer := zip.NewWriter(&buffer)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: time.Unix(1_700_000_000, 0)}
		header.SetMode(e.mode)
		if e.windows {
			header.CreatorVersion, header.ExternalAttrs = 0, 0
		}
		w, err := writer.CreateHeader(header)
		require.NoError(tb, err)
		_, err = w.Write([]byte(e.content))
		require.NoError(tb, err)
	}
	require.NoError(tb, writer.Close())
	return buffer.Bytes()
}

func TestUnpackZip(t *testing.T) {
	t.Parallel()
	zipped := makeZip(t,
		zipEntry{name: "bin/", mode: fs.ModeDir | 0o755},
		zipEntry{name: "bin/run", mode: 0o755, content: "#!/bin/sh\n"},
		file("deep/er/and/deeper.txt", "x"),
		zipEntry{name: "closed", mode: 0, content: "mine"},
		zipEntry{name: "setuid", mode: fs.ModeSetuid | 0o755},
		file("./dotted", ""),
		file("ünïcode \n name", "u"),
		file(`back\slash`, "kept"),
		symlink("bin/link", "../deep/er"),
		symlink("dangling", "nothing/here"),
	)
	dir := filepath.Join(t.TempDir(), "app")
	unpacked, err := archive.UnpackZip(t.Context(), zipped, dir, archive.Options{})
	require.NoError(t, err)
	require.Equal(t, archive.Unpacked{Entries: 10, Bytes: 20}, unpacked)

	requireMode(t, 0o755, dir, "bin/run")
	requireMode(t, 0o600, dir, "closed")
	requireMode(t, 0o755, dir, "setuid")
	requireContent(t, "x", dir, "bin/link/and/deeper.txt")
	requireContent(t, "u", dir, "ünïcode \n name")
	requireContent(t, "kept", dir, `back\slash`)
	requireContent(t, "", dir, "dotted")
	target, err := os.Readlink(filepath.Join(dir, "dangling"))
	require.NoError(t, err)
	require.Equal(t, "nothing/here", target)
	info, err := os.Stat(filepath.Join(dir, "bin/run"))
	require.NoError(t, err)
	require.Equal(t, int64(1_700_000_000), info.ModTime().Unix())
}

func TestUnpackZipFromWindows(t *testing.T) {
	t.Parallel()
	zipped := makeZip(t,
		zipEntry{name: `dir\`, windows: true},
		zipEntry{name: `dir\sub\file.txt`, content: "w", windows: true},
	)
	dir := t.TempDir()
	_, err := archive.UnpackZip(t.Context(), zipped, dir, archive.Options{})
	require.NoError(t, err)
	requireContent(t, "w", dir, "dir/sub/file.txt")
	requireMode(t, 0o644, dir, "dir/sub/file.txt")
}

func TestUnpackZipRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		entries []zipEntry
		cause   error
		words   string
	}{
		"climbs": {
			[]zipEntry{file("ok", ""), file("../evil", "x")},
			archive.ErrOutside, `"../evil" leaves the directory with ".."`,
		},
		"climbs in the middle": {[]zipEntry{file("a/../../evil", "x")}, archive.ErrOutside, `"a/../../evil" leaves`},
		"climbs and returns":   {[]zipEntry{file("a/../b", "x")}, archive.ErrOutside, "leaves"},
		"is absolute":          {[]zipEntry{file("/etc/passwd", "x")}, archive.ErrOutside, `"/etc/passwd" is an absolute name`},
		"climbs by backslash":  {[]zipEntry{file(`..\evil`, "x")}, archive.ErrOutside, "leaves"},
		"climbs by both":       {[]zipEntry{file(`a/..\..\evil`, "x")}, archive.ErrOutside, "leaves"},
		"absolute backslash":   {[]zipEntry{file(`\evil`, "x")}, archive.ErrOutside, "absolute"},
		"drive letter":         {[]zipEntry{file(`C:\evil`, "x")}, archive.ErrOutside, "absolute"},
		"windows climbs":       {[]zipEntry{{name: `..\evil`, windows: true}}, archive.ErrOutside, "leaves"},
		"not UTF-8":            {[]zipEntry{file("caf\xe9", "x")}, archive.ErrName, `"caf\xe9" is not a name in UTF-8`},
		"NUL":                  {[]zipEntry{file("a\x00b", "x")}, archive.ErrName, "NUL"},
		"long component":       {[]zipEntry{file(strings.Repeat("a", 256), "x")}, archive.ErrName, "too long"},
		"long name":            {[]zipEntry{file(strings.Repeat("abc/", 1100)+"x", "x")}, archive.ErrName, "too long"},
		"absolute link":        {[]zipEntry{symlink("l", "/etc")}, archive.ErrLink, `"l" is a link that leads out`},
		"climbing link":        {[]zipEntry{symlink("a/l", "../../etc")}, archive.ErrLink, "leads out"},
		"climbing then back":   {[]zipEntry{symlink("l", "../app/x")}, archive.ErrLink, "leads out"},
		"dangling then out":    {[]zipEntry{symlink("l", "no/../../x")}, archive.ErrLink, "leads out"},
		"through another link": {
			[]zipEntry{symlink("a/b/up", "../.."), symlink("out", "a/b/up/..")}, archive.ErrLink, "leads out",
		},
		"through a later, deeper link": {
			[]zipEntry{symlink("out", "x/y"), symlink("x", "e"), symlink("e/y", "../..")},
			archive.ErrLink, "leads out",
		},
		"link to itself":         {[]zipEntry{symlink("l", "l")}, archive.ErrLink, "circle"},
		"empty link":             {[]zipEntry{symlink("l", "")}, archive.ErrLink, "nowhere"},
		"writes through a link":  {[]zipEntry{symlink("l", "d"), file("l/x", "x"), file("d/y", "y")}, archive.ErrConflict, "beneath"},
		"file and directory":     {[]zipEntry{file("a", "x"), file("a/b", "x")}, archive.ErrConflict, "beneath"},
		"directory over file":    {[]zipEntry{file("a", "x"), {name: "a/", mode: fs.ModeDir | 0o755}}, archive.ErrConflict, "twice"},
		"file over directory":    {[]zipEntry{{name: "a/", mode: fs.ModeDir | 0o755}, file("a", "x")}, archive.ErrConflict, "twice"},
		"twice":                  {[]zipEntry{file("a", "1"), file("./a", "2")}, archive.ErrConflict, "twice"},
		"device":                 {[]zipEntry{{name: "null", mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}}, archive.ErrSpecial, "neither"},
		"block device":           {[]zipEntry{{name: "sda", mode: fs.ModeDevice | 0o666}}, archive.ErrSpecial, "neither"},
		"pipe":                   {[]zipEntry{{name: "p", mode: fs.ModeNamedPipe | 0o666}}, archive.ErrSpecial, "neither"},
		"socket":                 {[]zipEntry{{name: "s", mode: fs.ModeSocket | 0o666}}, archive.ErrSpecial, "neither"},
		"more bytes than claims": {[]zipEntry{file("a", strings.Repeat("a", 600)), file("b", strings.Repeat("b", 600))}, archive.ErrTooLarge, "1.0K"},
		"more directories":       {[]zipEntry{file("1/2/3/4/5", "")}, archive.ErrTooLarge, "4 entries"},
		"more entries":           {[]zipEntry{file("1", ""), file("2", ""), file("3", ""), file("4", ""), file("5", "")}, archive.ErrTooLarge, "4 entries"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outer := t.TempDir()
			dir := filepath.Join(outer, "app")
			_, err := archive.UnpackZip(t.Context(), makeZip(t, test.entries...), dir,
				archive.Options{MaxBytes: 1024, MaxEntries: 4})
			requireRefused(t, err, test.cause, test.words)
			// All of these are known from the zip's directory: nothing at all was written.
			require.NoDirExists(t, dir)
		})
	}
}

func TestUnpackZipRefusesWhatIsNoZip(t *testing.T) {
	t.Parallel()
	good := zipBytes(t, file("a", strings.Repeat("hello ", 100)), file("b", "b"))
	broken := bytes.Clone(good)
	copy(broken[40:], "\xff\xff\xff\xff\xff\xff")
	lies := bytes.Clone(good)
	directory := bytes.Index(lies, []byte("PK\x01\x02"))
	encrypted := bytes.Clone(good)
	encrypted[directory+8] |= 1
	unknown := bytes.Clone(good)
	binary.LittleEndian.PutUint16(unknown[directory+10:], 98)

	tests := map[string]struct {
		data  []byte
		cause error
		words string
	}{
		"text":          {[]byte("hello, I am a text"), archive.ErrNotArchive, "not a zip"},
		"empty":         {nil, archive.ErrNotArchive, "not a zip"},
		"cut off":       {good[:len(good)-30], archive.ErrNotArchive, "not a zip"},
		"broken inside": {broken, archive.ErrDamaged, `"a" is damaged`},
		"encrypted":     {encrypted, archive.ErrUnsupported, `"a" is encrypted`},
		"unknown":       {unknown, archive.ErrUnsupported, `"a" is compressed`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.zip")
			require.NoError(t, os.WriteFile(path, test.data, 0o600))
			_, err := archive.UnpackZip(t.Context(), path, t.TempDir(), archive.Options{})
			requireRefused(t, err, test.cause, test.words)
		})
	}
	_, err := archive.UnpackZip(t.Context(), filepath.Join(t.TempDir(), "none"), t.TempDir(), archive.Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	var refused *archive.Error
	require.NotErrorAs(t, err, &refused)
}

// A bomb claims to be small: only counting what comes out can stop it.
func TestUnpackZipStopsABombThatLies(t *testing.T) {
	t.Parallel()
	data := zipBytes(t, file("bomb", strings.Repeat("\x00", 32<<20)))
	directory := bytes.LastIndex(data, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(data[directory+24:], 10)
	path := filepath.Join(t.TempDir(), "bomb.zip")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	dir := t.TempDir()
	_, err := archive.UnpackZip(t.Context(), path, dir, archive.Options{MaxBytes: 1 << 20})
	require.Error(t, err)
	var refused *archive.Error
	require.ErrorAs(t, err, &refused)
	if info, err := os.Stat(filepath.Join(dir, "bomb")); err == nil {
		require.LessOrEqual(t, info.Size(), int64(1<<20))
	}
}

func TestUnpackZipEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := archive.UnpackZip(ctx, makeZip(t, file("a", "a")), t.TempDir(), archive.Options{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestUnpackZipReplacesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("first"), 0o600))
	_, err := archive.UnpackZip(t.Context(), makeZip(t, file("a", "second")), dir, archive.Options{})
	require.ErrorIs(t, err, archive.ErrConflict)
	requireContent(t, "first", dir, "a")
}

// What is there before the unpacking may be a trap, too.
func TestUnpackZipFollowsNoLinkOut(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "trap")))
	_, err := archive.UnpackZip(t.Context(), makeZip(t, file("trap/x", "x")), dir, archive.Options{})
	require.Error(t, err)
	require.NoFileExists(t, filepath.Join(outside, "x"))
}

func requireRefused(t *testing.T, err, cause error, words string) {
	t.Helper()
	var refused *archive.Error
	require.ErrorAs(t, err, &refused)
	require.ErrorIs(t, err, cause)
	require.Contains(t, err.Error(), words)
	require.NotContains(t, err.Error(), os.TempDir(), "a user must not read of the machine's paths")
}

func requireContent(t *testing.T, want, dir, name string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func requireMode(t *testing.T, want fs.FileMode, dir, name string) {
	t.Helper()
	info, err := os.Lstat(filepath.Join(dir, name))
	require.NoError(t, err)
	require.Equal(t, want, info.Mode())
}
