package pack_test

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/starter/internal/pack"
)

// app writes files into a new directory; a name that ends in a slash is a directory.
func app(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		if name[len(name)-1] == '/' {
			require.NoError(t, os.MkdirAll(file, 0o755))
			continue
		}
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	}
	return dir
}

func packed(t *testing.T, dir string) *zip.Reader {
	t.Helper()
	var buf bytes.Buffer
	_, err := pack.Write(context.Background(), &buf, dir)
	require.NoError(t, err)
	r, err := zip.NewReader(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	require.NoError(t, err)
	return r
}

func names(r *zip.Reader) []string {
	var out []string
	for _, f := range r.File {
		out = append(out, f.Name)
	}
	return out
}

func content(t *testing.T, r *zip.Reader, name string) string {
	t.Helper()
	f, err := r.Open(name)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	return string(b)
}

func TestWriteKeepsContentModesAndLinks(t *testing.T) {
	dir := app(t, map[string]string{"web.sh": "#!/bin/sh\n", "static/a.txt": "alpha", "empty/": "", "ünï.txt": "u"})
	require.NoError(t, os.Chmod(filepath.Join(dir, "web.sh"), 0o755))
	require.NoError(t, os.Symlink("static/a.txt", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("../web.sh", filepath.Join(dir, "static", "up")))

	r := packed(t, dir)
	require.Equal(t, []string{"empty/", "link", "static/", "static/a.txt", "static/up", "web.sh", "ünï.txt"}, names(r))
	modes := map[string]fs.FileMode{}
	for _, f := range r.File {
		modes[f.Name] = f.Mode()
	}
	require.Equal(t, fs.FileMode(0o755), modes["web.sh"])
	require.Equal(t, fs.FileMode(0o644), modes["static/a.txt"])
	require.Equal(t, fs.ModeSymlink, modes["link"].Type())
	require.True(t, modes["empty/"].IsDir())
	require.Equal(t, "alpha", content(t, r, "static/a.txt"))
	link, err := r.File[1].Open()
	require.NoError(t, err)
	target, err := io.ReadAll(link)
	require.NoError(t, err)
	require.Equal(t, "static/a.txt", string(target))
}

func TestWriteIsTheSameEachTime(t *testing.T) {
	files := map[string]string{"b": "2", "a/x": "1", "c": "3"}
	first, second := app(t, files), app(t, files)
	old := time.Now().Add(-48 * time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(second, "b"), old, old))
	var one, two bytes.Buffer
	_, err := pack.Write(context.Background(), &one, first)
	require.NoError(t, err)
	_, err = pack.Write(context.Background(), &two, second)
	require.NoError(t, err)
	require.Equal(t, one.Bytes(), two.Bytes())
}

func TestWriteLeavesOut(t *testing.T) {
	dir := app(t, map[string]string{
		".git/config": "g", "sub/.git/config": "g", ".DS_Store": "d", "main.go": "m",
		"debug.log": "l", "keep.log": "l", "tmp/x": "t", "sub/tmp/y": "t", "build": "file", "docs/a.md": "a", "docs/b.txt": "b",
		".cfignore": "# logs\n*.log\n!keep.log\n/tmp\nbuild/\ndocs/*.md\n",
	})
	require.Equal(t, []string{"build", "docs/", "docs/b.txt", "keep.log", "main.go", "sub/", "sub/tmp/", "sub/tmp/y"}, names(packed(t, dir)))
}

func TestIgnoredDirectoryIsSkippedWhole(t *testing.T) {
	dir := app(t, map[string]string{"a": "1", "node_modules/x/y": "2", ".cfignore": "node_modules\n"})
	// What is left out need not even be packable.
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "node_modules", "out")))
	require.Equal(t, []string{"a"}, names(packed(t, dir)))
}

func TestWriteRefuses(t *testing.T) {
	t.Run("nothing", func(t *testing.T) {
		_, err := pack.Write(context.Background(), io.Discard, app(t, map[string]string{".git/x": ""}))
		require.ErrorIs(t, err, pack.ErrEmpty)
	})
	for name, target := range map[string]string{"absolute": "/etc/passwd", "upwards": "../secret", "sideways": "a/../../secret"} {
		t.Run("a link "+name, func(t *testing.T) {
			dir := app(t, map[string]string{"x": "1"})
			require.NoError(t, os.Symlink(target, filepath.Join(dir, "link")))
			_, err := pack.Write(context.Background(), io.Discard, dir)
			require.ErrorContains(t, err, "leads out of the app")
		})
	}
	t.Run("a name that is not UTF-8", func(t *testing.T) {
		dir := app(t, map[string]string{"x": "1"})
		require.NoError(t, os.WriteFile(filepath.Join(dir, "caf\xe9"), nil, 0o600))
		_, err := pack.Write(context.Background(), io.Discard, dir)
		require.ErrorContains(t, err, "not UTF-8")
	})
	t.Run("a socket", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "dea")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
		l, err := net.Listen("unix", filepath.Join(dir, "s"))
		require.NoError(t, err)
		defer func() { _ = l.Close() }()
		_, err = pack.Write(context.Background(), io.Discard, dir)
		require.ErrorContains(t, err, "cannot be pushed")
	})
	t.Run("when interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := pack.Write(ctx, io.Discard, app(t, map[string]string{"x": "1"}))
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestMake(t *testing.T) {
	ctx := context.Background()
	dir := app(t, map[string]string{"x": "1"})
	p, err := pack.Make(ctx, dir)
	require.NoError(t, err)
	info, err := os.Stat(p.Path)
	require.NoError(t, err)
	require.Equal(t, info.Size(), p.Size)
	require.Equal(t, 1, p.Files)

	given, err := pack.Make(ctx, p.Path)
	require.NoError(t, err)
	require.NoError(t, given.Close())
	require.FileExists(t, p.Path, "a zip that was given is not ours to remove")
	require.NoError(t, p.Close())
	require.NoFileExists(t, p.Path)

	_, err = pack.Make(ctx, filepath.Join(dir, "nowhere"))
	require.ErrorContains(t, err, "there is no")
	_, err = pack.Make(ctx, filepath.Join(dir, "x"))
	require.ErrorContains(t, err, "neither a directory nor a zip")
}

func TestMakeLeavesNothingBehindWhenItFails(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, err := pack.Make(context.Background(), app(t, map[string]string{".git/x": ""}))
	require.ErrorIs(t, err, pack.ErrEmpty)
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	require.Empty(t, left)
}
