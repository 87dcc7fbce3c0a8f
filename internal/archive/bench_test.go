package archive_test

import (
	"archive/zip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/archive"
)

// app makes a directory like an app's: many small texts and a program.
func benchApp(b *testing.B) (string, int64) {
	b.Helper()
	dir := b.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"function ", "return ", "const ", "import ", "{\n", "}\n", "value", "err ", "if ", "for "}
	total := int64(0)
	put := func(name string, size int) {
		text := make([]byte, 0, size+16)
		for len(text) < size {
			text = append(text, words[random.IntN(len(words))]...)
			text = fmt.Appendf(text, "%x", random.IntN(1<<12))
		}
		write(b, dir, name, string(text), 0o644)
		total += int64(len(text))
	}
	for n := range 2000 {
		put(fmt.Sprintf("node_modules/pkg%d/lib/file%d.js", n/10, n), 4<<10)
	}
	put("bin/program", 24<<20)
	return dir, total
}

func BenchmarkPack(b *testing.B) {
	dir, size := benchApp(b)
	b.SetBytes(size)
	for b.Loop() {
		packed, err := archive.Pack(b.Context(), dir, io.Discard)
		require.NoError(b, err)
		b.ReportMetric(float64(packed.Size)/float64(size), "ratio")
	}
}

func BenchmarkUnpackTar(b *testing.B) {
	dir, size := benchApp(b)
	file := filepath.Join(b.TempDir(), "droplet.tgz")
	_, err := archive.PackFile(b.Context(), dir, file)
	require.NoError(b, err)
	b.SetBytes(size)
	for b.Loop() {
		into := filepath.Join(b.TempDir(), "out")
		_, err := archive.UnpackTarFile(b.Context(), file, into, archive.Options{})
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, os.RemoveAll(into))
		b.StartTimer()
	}
}

func BenchmarkUnpackZip(b *testing.B) {
	dir, size := benchApp(b)
	file := filepath.Join(b.TempDir(), "package.zip")
	f, err := os.Create(file)
	require.NoError(b, err)
	writer := zip.NewWriter(f)
	require.NoError(b, writer.AddFS(os.DirFS(dir)))
	require.NoError(b, writer.Close())
	require.NoError(b, f.Close())
	b.SetBytes(size)
	for b.Loop() {
		into := filepath.Join(b.TempDir(), "out")
		_, err := archive.UnpackZip(b.Context(), file, into, archive.Options{})
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, os.RemoveAll(into))
		b.StartTimer()
	}
}
