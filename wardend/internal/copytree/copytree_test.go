package copytree

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// write makes a file with its directories.
func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(raw)
}

func TestTargets(t *testing.T) {
	for name, c := range map[string]struct {
		source, target, at string // at: where the file is then; empty when it fails
	}{
		"directory into directory":        {"dir", "there", "there/dir/file"},
		"directory into directory, slash": {"dir", "there/", "there/dir/file"},
		"directory to new":                {"dir", "new", "new/dir/file"},
		"content into directory":          {"dir/", "there", "there/file"},
		"content to new":                  {"dir/", "new", "new/file"},
		"content by dot":                  {"dir/.", "new/", "new/file"},
		"file into directory":             {"dir/file", "there", "there/file"},
		"file to new":                     {"dir/file", "new", "new"},
		"file into new directory":         {"dir/file", "new/", "new/file"},
		"file over file":                  {"dir/file", "there/old", "there/old"},
		"content through link":            {"link/", "new", "new/file"},
		"into linked directory":           {"dir/", "linked", "there/file"},
		"directory over file":             {"dir", "there/old", ""},
		"content over file":               {"dir/", "there/old", ""},
		"no parent":                       {"dir", "a/b", ""},
		"no parent for a file":            {"dir/file", "a/b", ""},
		"no source":                       {"none", "there", ""},
		"file with slash":                 {"dir/file/", "there", ""},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			write(t, filepath.Join(base, "dir/file"), "content")
			write(t, filepath.Join(base, "there/old"), "old")
			require.NoError(t, os.Symlink("dir", filepath.Join(base, "link")))
			require.NoError(t, os.Symlink("there", filepath.Join(base, "linked")))
			err := Copy(t.Context(), base+"/"+c.source, base+"/"+c.target, nil)
			if c.at == "" {
				require.ErrorIs(t, err, ErrFailed)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "content", read(t, filepath.Join(base, c.at)))
		})
	}
}

func TestKinds(t *testing.T) {
	source, target := t.TempDir(), filepath.Join(t.TempDir(), "to")
	write(t, filepath.Join(source, "suid"), "x")
	require.NoError(t, os.Chmod(filepath.Join(source, "suid"), 0o751|fs.ModeSetuid))
	require.NoError(t, os.Mkdir(filepath.Join(source, "closed"), 0o700))
	write(t, filepath.Join(source, "closed/file"), "inside")
	require.NoError(t, os.Chmod(filepath.Join(source, "closed"), 0o500))
	// Who is not root can remove only what a directory lets him.
	t.Cleanup(func() { require.NoError(t, os.Chmod(filepath.Join(source, "closed"), 0o700)) }) //nolint:gosec // about to be removed
	require.NoError(t, os.Symlink("/etc", filepath.Join(source, "link")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(source, "fifo"), 0o600))
	for range 2 { // the second time over the first
		require.NoError(t, Copy(t.Context(), source+"/", target, nil))
		info, err := os.Stat(filepath.Join(target, "suid"))
		require.NoError(t, err)
		require.Equal(t, 0o751|fs.ModeSetuid, info.Mode())
		info, err = os.Stat(filepath.Join(target, "closed"))
		require.NoError(t, err)
		require.Equal(t, 0o500|fs.ModeDir, info.Mode())
		require.Equal(t, "inside", read(t, filepath.Join(target, "closed/file")))
		to, err := os.Readlink(filepath.Join(target, "link"))
		require.NoError(t, err)
		require.Equal(t, "/etc", to)
		require.NoFileExists(t, filepath.Join(target, "fifo"), "left out")
		// Not root: a directory that its owner cannot write is in the way of a second copy, as it is for rsync.
		require.NoError(t, os.Chmod(filepath.Join(target, "closed"), 0o700))
	}
}

func TestWhatIsInTheWay(t *testing.T) {
	source, target, outside := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(source, "a/file"), "new")
	write(t, filepath.Join(source, "b"), "new")
	write(t, filepath.Join(target, "a"), "a file where a directory comes")
	require.NoError(t, os.Mkdir(filepath.Join(target, "b"), 0o755))
	require.NoError(t, Copy(t.Context(), source+"/", target, nil))
	require.Equal(t, "new", read(t, filepath.Join(target, "a/file")))
	require.Equal(t, "new", read(t, filepath.Join(target, "b")), "an empty directory makes way")

	require.NoError(t, os.RemoveAll(filepath.Join(target, "a")))
	require.NoError(t, os.Symlink(outside, filepath.Join(target, "a")))
	require.NoError(t, os.Remove(filepath.Join(target, "b")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "b"), filepath.Join(target, "b")))
	require.NoError(t, Copy(t.Context(), source+"/", target, nil))
	require.Equal(t, "new", read(t, filepath.Join(target, "a/file")))
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries, "links within the target are replaced, not followed")

	require.NoError(t, os.Remove(filepath.Join(target, "b")))
	write(t, filepath.Join(target, "b/full"), "x")
	require.ErrorIs(t, Copy(t.Context(), source+"/", target, nil), ErrFailed, "a full directory does not make way")
	require.Equal(t, "x", read(t, filepath.Join(target, "b/full")))
}

func TestReaderOfTheOldFileIsNotDisturbed(t *testing.T) {
	source, target := t.TempDir(), t.TempDir()
	write(t, filepath.Join(source, "f"), "new")
	write(t, filepath.Join(target, "f"), "old")
	f, err := os.Open(filepath.Join(target, "f"))
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	require.NoError(t, Copy(t.Context(), source+"/f", target, nil))
	old := make([]byte, 3)
	_, err = f.Read(old)
	require.NoError(t, err)
	require.Equal(t, "old", string(old))
	entries, err := os.ReadDir(target)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")
}

func TestCancelled(t *testing.T) {
	source, target := t.TempDir(), t.TempDir()
	write(t, filepath.Join(source, "f"), "new")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Copy(ctx, source+"/", target, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrFailed)
}

func TestParseOwner(t *testing.T) {
	for s, want := range map[string]Owner{
		"12:34": {12, 34}, "12": {12, -1}, ":34": {-1, 34}, "root": {0, -1}, "root:root": {0, 0}, "12:": {12, -1}, "": {-1, -1},
	} {
		got, err := ParseOwner(s)
		require.NoError(t, err, s)
		require.Equal(t, want, *got, s)
	}
	for _, s := range []string{"nosuchuser", "root:nosuchgroup", "-1", "99999999999"} {
		_, err := ParseOwner(s)
		require.ErrorIs(t, err, ErrFailed, s)
	}
}

// TestFileThatWasReplaced: what a job puts in a file's place between looking and copying is neither followed nor
// waited for.
func TestFileThatWasReplaced(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("words"), 0o600))
	there, err := side{}.open(dir, handle)
	require.NoError(t, err)
	defer there.close()
	for name, replace := range map[string]func() error{
		"link": func() error { return os.Symlink("/etc/passwd", file) },
		"pipe": func() error { return syscall.Mkfifo(file, 0o600) },
	} {
		require.NoError(t, os.Remove(file))
		require.NoError(t, replace())
		require.ErrorIs(t, (&copier{ctx: t.Context()}).file(there, "file", there, "target"), errChanged, name)
		require.NoFileExists(t, filepath.Join(dir, "target"))
	}
}
