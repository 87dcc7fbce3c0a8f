package copytree

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// smallFiles makes what an app's dependencies look like: 20,000 files of 1 KiB in 1,000 directories.
func smallFiles(b *testing.B) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "tree")
	content := []byte(strings.Repeat("x", 1<<10))
	for i := range 1000 {
		sub := fmt.Sprintf("%s/%d/%d", dir, i/100, i)
		require.NoError(b, os.MkdirAll(sub, 0o755))
		for j := range 20 {
			require.NoError(b, os.WriteFile(fmt.Sprintf("%s/%d.js", sub, j), content, 0o644))
		}
	}
	return dir
}

// BenchmarkSmallFiles copies 20,000 small files, against cp and rsync on the same machine.
func BenchmarkSmallFiles(b *testing.B) {
	from := smallFiles(b)
	command := func(name string, args ...string) func(string) error {
		return func(to string) error { return exec.CommandContext(b.Context(), name, append(args, from, to)...).Run() }
	}
	for _, c := range []struct {
		name string
		copy func(to string) error
	}{
		{"in", func(to string) error {
			root, err := os.OpenRoot(to)
			if err != nil {
				return err
			}
			defer func() { _ = root.Close() }()
			return CopyIn(b.Context(), from, root, "/", vcap)
		}},
		{"out", func(to string) error {
			root, err := os.OpenRoot(filepath.Dir(from))
			if err != nil {
				return err
			}
			defer func() { _ = root.Close() }()
			return CopyOut(b.Context(), root, "/tree", to, nil)
		}},
		{"cp", command("cp", "-a")},
		{"rsync", command("rsync", "-r", "-p", "--links")},
	} {
		b.Run(c.name, func(b *testing.B) {
			needRoot(b)
			if _, err := exec.LookPath(c.name); err != nil && c.name != "in" && c.name != "out" {
				b.Skip("it is not installed")
			}
			for b.Loop() {
				b.StopTimer()
				to, err := os.MkdirTemp(filepath.Dir(filepath.Dir(from)), "to")
				require.NoError(b, err)
				b.StartTimer()
				require.NoError(b, c.copy(to))
				b.StopTimer()
				require.NoError(b, os.RemoveAll(to))
				b.StartTimer()
			}
		})
	}
}
