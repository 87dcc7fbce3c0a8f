package crashes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/diskuse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store whose clock the test sets.
type world struct {
	*Store
	t    *testing.T
	base string
	time time.Time
	said bytes.Buffer
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, base: t.TempDir(), time: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}
	o := Options{
		BaseDir: w.base, Lifetime: time.Hour, Disk: diskuse.Threshold{Dir: w.base, Blocks: 1, Inodes: 1},
		Log: hclog.New(&hclog.LoggerOptions{Output: &w.said}), Now: func() time.Time { return w.time },
	}
	for _, f := range change {
		f(&o)
	}
	w.Store = New(o)
	return w
}

// logs makes a log directory with a file.
func (w *world) logs(text string) *os.Root {
	w.t.Helper()
	dir := w.t.TempDir()
	require.NoError(w.t, os.WriteFile(filepath.Join(dir, "stdout.log"), []byte(text), 0o644))
	root, err := os.OpenRoot(dir)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { root.Close() })
	return root
}

func (w *world) crash(instance, app string, index int) {
	w.t.Helper()
	require.NoError(w.t, w.Keep(w.t.Context(), Crash{InstanceID: instance, AppID: app, Index: index}, w.logs(instance)))
	w.time = w.time.Add(time.Minute)
}

// kept is what is in the directory, also what is hidden or half made.
func (w *world) kept() []string {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.base, "crashes"))
	require.NoError(w.t, err)
	parts, err := os.ReadDir(filepath.Join(w.base, "crashes", partsDir))
	require.NoError(w.t, err)
	names := []string{}
	for _, e := range append(entries, parts...) {
		if e.Name() != partsDir {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestACrashIsKeptOnce(t *testing.T) {
	w := newWorld(t)
	w.crash("i", "a", 0)
	require.NoError(t, w.Keep(w.t.Context(), Crash{InstanceID: "i", AppID: "a"}, w.logs("later")))
	text, err := os.ReadFile(filepath.Join(w.Dir("i"), "logs", "stdout.log"))
	require.NoError(t, err)
	require.Equal(t, "i", string(text))
	record, err := readRecord(w.Dir("i"))
	require.NoError(t, err)
	require.Equal(t, Crash{InstanceID: "i", AppID: "a", At: w.time.Add(-time.Minute)}, record)
	require.Equal(t, []string{"i"}, w.kept())
}

func TestOnlyTheLatestOfAnAppIsKept(t *testing.T) {
	w := newWorld(t)
	w.crash("i-1", "a", 0)
	w.crash("i-2", "b", 0)
	w.crash("i-3", "a", 1)
	require.Equal(t, []string{"i-2", "i-3"}, w.kept(), "whatever the index")
}

func TestCrashesGoWithTime(t *testing.T) {
	w := newWorld(t)
	w.crash("old", "a", 0)
	w.time = w.time.Add(58 * time.Minute)
	w.crash("new", "b", 0)
	require.Equal(t, []string{"new", "old"}, w.kept())
	require.NoError(t, w.Reap(t.Context()))
	require.Equal(t, []string{"new"}, w.kept())
}

func TestWhatIsHalfMadeGoes(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.Reap(t.Context()), "before there is a directory")
	w.crash("i", "a", 0)
	for _, name := range []string{".parts/1.new", ".parts/x.0.gone", "i-2", "i-3"} {
		require.NoError(t, os.MkdirAll(filepath.Join(w.base, "crashes", name, "logs"), 0o700))
	}
	for name, age := range map[string]time.Duration{"i-2": 2 * time.Hour, "i-3": time.Minute} { // kept without a record
		at := w.time.Add(-age)
		require.NoError(t, os.Chtimes(filepath.Join(w.base, "crashes", name), at, at))
	}
	part, err := w.begin()
	require.NoError(t, err)
	require.NoError(t, w.Reap(t.Context()))
	require.DirExists(t, part, "somebody is at it")
	w.end(part)
	require.Equal(t, []string{"i", "i-3"}, w.kept())
	w.crash("i-3", "c", 0)
	require.FileExists(t, filepath.Join(w.Dir("i-3"), recordFile), "it takes the place of what has no record")
}

func TestHarmfulLogs(t *testing.T) {
	w := newWorld(t)
	logs := w.logs("said")
	dir := logs.Name()
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	if err := unix.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))); err != nil {
		require.ErrorIs(t, err, unix.EPERM)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "huge"), nil, 0o600))
	require.NoError(t, os.Truncate(filepath.Join(dir, "huge"), 1<<40))
	f, err := os.OpenFile(filepath.Join(dir, "huge"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("the end")
	require.NoError(t, err)
	require.NoError(t, f.Close())

	require.NoError(t, w.Keep(w.t.Context(), Crash{InstanceID: "../../i", AppID: "a"}, logs))
	kept := filepath.Join(w.Dir("../../i"), "logs")
	entries, err := os.ReadDir(kept)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	huge, err := os.ReadFile(filepath.Join(kept, "huge"))
	require.NoError(t, err)
	require.Len(t, huge, maxLog)
	require.True(t, strings.HasSuffix(string(huge), "the end"))
	require.Len(t, w.kept(), 1)
}

func TestManyLogs(t *testing.T) {
	w := newWorld(t)
	logs := w.logs("x")
	for i := range 3 * maxLogs {
		require.NoError(t, os.WriteFile(filepath.Join(logs.Name(), strings.Repeat("x", i+1)), nil, 0o600))
	}
	require.NoError(t, w.Keep(w.t.Context(), Crash{InstanceID: "i", AppID: "a"}, logs))
	entries, err := os.ReadDir(filepath.Join(w.Dir("i"), "logs"))
	require.NoError(t, err)
	require.Len(t, entries, maxLogs)
}

// An app may have made any number of files: its own words come first.
func TestManyFilesDoNotHideTheLogs(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	for n := range 3 * maxLogs {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("junk-%d", n)), nil, 0o600))
	}
	names := []string{"stdout.log", "stderr.log", "stdout.log.1", "stderr.log.1"}
	for _, name := range names {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
	}
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	require.NoError(t, w.Keep(w.t.Context(), Crash{InstanceID: "i", AppID: "a"}, root))
	for _, name := range names {
		require.FileExists(t, filepath.Join(w.Dir("i"), "logs", name))
	}
}

// TestTheOldestGoWhenTheDiskIsFull has a file system of its own, in a mount namespace that goes with the test's thread.
func TestTheOldestGoWhenTheDiskIsFull(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Skip("no mount namespace:", err)
	}
	require.NoError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	for name, c := range map[string]struct {
		options string
		change  func(*Options)
	}{
		"blocks": {"size=1m", func(o *Options) { o.Disk.Blocks = 0.8 }},
		"inodes": {"nr_inodes=32", func(o *Options) { o.Disk.Inodes = 0.8 }},
	} {
		w := newWorld(t, c.change)
		require.NoError(t, unix.Mount("tmpfs", w.base, "tmpfs", 0, c.options), name)
		for _, id := range []string{"i-1", "i-2", "i-3", "i-4", "i-5", "i-6", "i-7", "i-8", "i-9"} {
			require.NoError(t, w.Keep(w.t.Context(), Crash{InstanceID: id, AppID: id}, w.logs(strings.Repeat("x", 100<<10))), name)
			w.time = w.time.Add(time.Minute)
		}
		kept := w.kept()
		require.Contains(t, kept, "i-9", name)
		require.NotContains(t, kept, "i-1", name)
		require.GreaterOrEqual(t, len(kept), 4, "%s: no more than needed", name)
		require.Contains(t, w.said.String(), "removed what was kept of a crash: instance=i-1 app=i-1", name)
		require.NotContains(t, w.said.String(), "instance=i-9", name)
		full, err := w.options.Disk.Exceeded()
		require.NoError(t, err)
		require.False(t, full, name)
		require.NoError(t, unix.Unmount(w.base, unix.MNT_DETACH))
	}
}

func TestAFullDiskTakesAll(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Disk.Blocks = 1e-12 })
	w.crash("i", "a", 0)
	require.Empty(t, w.kept())
}
