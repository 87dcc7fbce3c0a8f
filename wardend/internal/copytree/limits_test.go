package copytree

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// deep makes directories in one another and a file in the last, also where no path is long enough to name it.
func deep(t *testing.T, in string, levels int) {
	t.Helper()
	fd, err := unix.Open(in, handle, 0)
	require.NoError(t, err)
	for range levels {
		require.NoError(t, unix.Mkdirat(fd, "d", 0o755))
		next, err := unix.Openat(fd, "d", handle, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Close(fd))
		fd = next
	}
	file, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	require.NoError(t, err)
	require.NoError(t, unix.Close(file))
	require.NoError(t, unix.Close(fd))
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestDepth(t *testing.T) {
	base, root := tree(t)
	deep(t, base, maxDepth-1)
	to := t.TempDir()
	require.NoError(t, CopyOut(t.Context(), root, "/", to, nil))
	require.FileExists(t, to+strings.Repeat("/d", maxDepth-1)+"/file")
	require.NoError(t, os.RemoveAll(base+"/d"))
	deep(t, base, 5000)
	before := openFiles(t)
	err := CopyOut(t.Context(), root, "/", t.TempDir(), nil)
	require.ErrorIs(t, err, errTooDeep)
	require.Equal(t, before, openFiles(t))
}

func TestNames(t *testing.T) {
	base, root := tree(t)
	names := []string{"new\nline", "\xff\xfe not UTF-8", " ", "-rf", "a*", `\`, "…", strings.Repeat("n", 255), ".copy-0-1"}
	for _, name := range names {
		write(t, filepath.Join(base, "dir", name), name)
		write(t, filepath.Join(base, "dir", "in", name, "f"), name)
	}
	to := t.TempDir()
	require.NoError(t, CopyOut(t.Context(), root, "/dir/", to, nil))
	for _, name := range names {
		require.Equal(t, name, read(t, filepath.Join(to, name)))
		require.Equal(t, name, read(t, filepath.Join(to, "in", name, "f")))
		alone := filepath.Join(t.TempDir(), "x")
		require.NoError(t, CopyOut(t.Context(), root, "/dir/"+name, alone, nil))
		require.Equal(t, name, read(t, alone))
	}
}

func TestManyFiles(t *testing.T) {
	base, root := tree(t)
	for i := range 3 * listed {
		write(t, fmt.Sprintf("%s/many/%d", base, i), "x")
	}
	to := t.TempDir()
	require.NoError(t, CopyOut(t.Context(), root, "/many", to, nil))
	entries, err := os.ReadDir(to + "/many")
	require.NoError(t, err)
	require.Len(t, entries, 3*listed)
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(path, &st))
	return st.Blocks * statBlock
}

// TestHoles: a file with nothing in it, as large as files can be, costs nothing.
func TestHoles(t *testing.T) {
	base, root := tree(t)
	const size = 1 << 40
	f, err := os.Create(base + "/sparse")
	require.NoError(t, err)
	for at, what := range map[int64]string{1 << 20: "early", 1 << 30: strings.Repeat("long", 300<<10), size - 4: "last"} {
		_, err = f.WriteAt([]byte(what), at)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	require.NoError(t, os.Truncate(base+"/sparse", size+5))
	require.NoError(t, os.WriteFile(base+"/nothing", nil, 0o600))
	require.NoError(t, os.Truncate(base+"/nothing", size))
	to := t.TempDir()
	require.NoError(t, CopyOut(t.Context(), root, "/", to, nil))
	require.Less(t, blocks(t, to+"/sparse"), int64(4<<20))
	require.Zero(t, blocks(t, to+"/nothing"))
	f, err = os.Open(to + "/sparse")
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	require.NoError(t, err)
	require.EqualValues(t, size+5, info.Size())
	for at, what := range map[int64]string{1<<20 - 1: "\x00early\x00", 1 << 30: strings.Repeat("long", 300<<10) + "\x00", size - 5: "\x00last\x00\x00\x00\x00\x00"} {
		got := make([]byte, len(what))
		_, err := f.ReadAt(got, at)
		require.NoError(t, err)
		require.Equal(t, what, string(got))
	}
}

// TestLargeFiles: with what the kernel copies, and with what it does not.
func TestLargeFiles(t *testing.T) {
	base, root := tree(t)
	content := strings.Repeat("0123456789abcdef", inKernel/16) + "and an odd end"
	write(t, base+"/large", content)
	for _, to := range []string{t.TempDir(), otherFileSystem(t)} {
		require.NoError(t, CopyOut(t.Context(), root, "/large", to, nil))
		require.Equal(t, content, read(t, to+"/large"))
	}
}

func otherFileSystem(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "copytree")
	if err != nil {
		t.Skip("no second file system")
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestAGrowingFileEnds: what is written while it is copied is not.
func TestAGrowingFileEnds(t *testing.T) {
	base, root := tree(t)
	write(t, base+"/log", "0123456789")
	from, err := side{root: mustOpen(t, root)}.open("/", handle)
	require.NoError(t, err)
	defer from.close()
	fd, err := from.open("log", unix.O_RDWR, 0)
	require.NoError(t, err)
	var info unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &info))
	_, err = unix.Pwrite(fd, []byte("more"), 10)
	require.NoError(t, err)
	to, err := os.Create(t.TempDir() + "/to")
	require.NoError(t, err)
	defer func() { _ = to.Close() }()
	c := &copier{ctx: t.Context(), bits: allBits}
	require.NoError(t, c.write(int(to.Fd()), fd, info))
	require.Equal(t, "0123456789", read(t, to.Name()))
	require.NoError(t, unix.Ftruncate(fd, 3))
	require.NoError(t, to.Truncate(0))
	require.NoError(t, c.write(int(to.Fd()), fd, info), "nor is it an error to become shorter")
	require.Equal(t, "012", read(t, to.Name()))
	require.NoError(t, unix.Close(fd))
}

func mustOpen(t *testing.T, root *os.Root) *os.File {
	t.Helper()
	f, err := root.Open(".")
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestCancelledInAFile: nothing of it is left, and it does not take the file's time.
func TestCancelledInAFile(t *testing.T) {
	base, root := tree(t)
	for i := range 4 {
		f, err := os.Create(fmt.Sprintf("%s/%d", base, i))
		require.NoError(t, err)
		require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 0, 1<<30))
		require.NoError(t, f.Close())
	}
	for _, to := range []string{t.TempDir(), otherFileSystem(t)} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		start := time.Now()
		err := CopyOut(ctx, root, "/", to+"/out", nil)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrFailed)
		require.Less(t, time.Since(start), 5*time.Second)
		left, err := filepath.Glob(to + "/out/.copy-*")
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

// TestIntoItself ends.
func TestIntoItself(t *testing.T) {
	base, root := tree(t)
	write(t, base+"/dir/f", "x")
	write(t, base+"/dir/sub/f", "x")
	for _, c := range []struct{ from, to string }{{"dir", "dir/sub"}, {"dir/", "dir/new"}, {"dir", "dir/other"}, {"dir/", "dir"}, {"dir", "."}, {"dir/", "dir/sub"}} {
		require.NoError(t, Copy(t.Context(), base+"/"+c.from, base+"/"+c.to, nil), "%v", c)
		require.NoError(t, CopyIn(t.Context(), base+"/"+c.from, root, c.to, nil), "%v", c)
	}
	require.FileExists(t, base+"/dir/sub/dir/f")
	require.FileExists(t, base+"/dir/new/sub/f")
	require.NoDirExists(t, base+"/dir/new/new")
}
