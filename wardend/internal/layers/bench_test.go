package layers

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func itoa(n int) string { return strconv.Itoa(n) }

// BenchmarkOverlay mounts and unmounts, beside none or many other mounts.
func BenchmarkOverlay(b *testing.B) {
	for _, others := range []int{0, 500} {
		for _, count := range []int{1, 3} {
			for way, mark := range ways() {
				b.Run(fmt.Sprintf("%s/layers=%d/others=%d", way, count, others), func(b *testing.B) {
					dir := tempDir(b)
					var list []string
					for i := range count {
						write(b, dir, itoa(i)+"/dir/file", "x")
						list = append(list, itoa(i))
					}
					mountOthers(b, dir, others)
					o := mark(newOverlay(b, dir, list...))
					for b.Loop() {
						mount(b, o)
						require.NoError(b, Unmount(o.Target))
						b.StopTimer()
						require.NoError(b, os.RemoveAll(o.Upper))
						require.NoError(b, os.RemoveAll(o.Work))
						b.StartTimer()
					}
				})
			}
		}
	}
}

func mountOthers(b *testing.B, dir string, count int) {
	b.Helper()
	for i := range count {
		own := filepath.Join(dir, "other", itoa(i))
		require.NoError(b, os.MkdirAll(own, 0o755))
		mount(b, newOverlay(b, own, filepath.Join(dir, "0")))
	}
}

func BenchmarkBind(b *testing.B) {
	dir := tempDir(b)
	o := newTree(b, dir)
	write(b, dir, "source/file", "x")
	bind := Bind{Source: filepath.Join(dir, "source"), Target: "/a/b", ReadOnly: true}
	for b.Loop() {
		require.NoError(b, MountBind(o.Target, o.IDs, bind))
		b.StopTimer()
		require.NoError(b, Unmount(filepath.Join(o.Target, "a/b")))
		b.StartTimer()
	}
}

// BenchmarkUnmountNothing is what an idempotent remove costs.
func BenchmarkUnmountNothing(b *testing.B) {
	dir := tempDir(b)
	write(b, dir, "0/file", "")
	mountOthers(b, dir, 500)
	require.NoError(b, os.MkdirAll(filepath.Join(dir, "empty"), 0o755))
	require.NoError(b, os.MkdirAll(filepath.Join(dir, "full/x"), 0o755))
	for _, name := range []string{"missing", "empty", "full"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, Unmount(filepath.Join(dir, name)))
			}
		})
	}
}
