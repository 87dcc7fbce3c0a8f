package layers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// newTree is a mounted overlay in dir/container, over dir/stack.
func newTree(tb testing.TB, dir string) Overlay {
	tb.Helper()
	write(tb, dir, "stack/etc/hosts", "hosts")
	own := filepath.Join(dir, "container")
	require.NoError(tb, os.MkdirAll(own, 0o755))
	o := newOverlay(tb, own, filepath.Join(dir, "stack"))
	mount(tb, o)
	return o
}

func tmpfs(tb testing.TB, dir string) {
	tb.Helper()
	require.NoError(tb, os.MkdirAll(dir, 0o755))
	require.NoError(tb, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	tb.Cleanup(func() { require.NoError(tb, Unmount(dir)) })
}

func TestBindMakesWhatIsMissing(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "source/file", "x")
	source := filepath.Join(dir, "source")
	o := newTree(t, dir)
	old := unix.Umask(0o77)
	defer unix.Umask(old)

	require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: source, Target: "/a/b/c"}))
	require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: filepath.Join(source, "file"), Target: "a/d/.wardend-init", ReadOnly: true}))
	assert.Equal(t, "x", read(t, o.Target, "a/b/c/file"))
	assert.Equal(t, "x", read(t, o.Target, "a/d/.wardend-init"))
	for name, mode := range map[string]os.FileMode{"a": 0o755, "a/b": 0o755, "a/d": 0o755, "a/d/.wardend-init": 0o644, "a/b/c": 0o755} {
		info, err := os.Stat(filepath.Join(o.Upper, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), name)
		assert.Equal(t, ids().Host, owner(t, o.Upper, name), name)
	}
	write(t, o.Target, "a/b/c/new", "y")
	assert.Equal(t, "y", read(t, source, "new"))
	require.ErrorIs(t, os.WriteFile(filepath.Join(o.Target, "a/d/.wardend-init"), nil, 0), unix.EROFS)

	// A second one at the same place lies above the first.
	write(t, dir, "source2/other", "z")
	require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: filepath.Join(dir, "source2"), Target: "/a/b/c"}))
	assert.Equal(t, "z", read(t, o.Target, "a/b/c/other"))
	require.NoError(t, Unmount(o.Target))
	assert.Empty(t, mountsIn(t, dir))
	assert.Equal(t, "x", read(t, source, "file"))
}

func TestBindIsReadOnlyAllTheWayDown(t *testing.T) {
	dir := tempDir(t)
	source := filepath.Join(dir, "source")
	write(t, source, "file", "x")
	tmpfs(t, filepath.Join(source, "inner"))
	tmpfs(t, filepath.Join(source, "inner/innermost"))
	write(t, source, "inner/innermost/file", "y")
	o := newTree(t, dir)
	require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: source, Target: "/ro", ReadOnly: true}))
	require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: source, Target: "/rw"}))

	assert.Equal(t, "y", read(t, o.Target, "ro/inner/innermost/file"))
	for _, name := range []string{"new", "file", "inner/new", "inner/innermost/new", "inner/innermost/file"} {
		require.ErrorIs(t, os.WriteFile(filepath.Join(o.Target, "ro", name), nil, 0o600), unix.EROFS, name)
		require.NoError(t, os.WriteFile(filepath.Join(o.Target, "rw", name), []byte("w"), 0o600), name)
		assert.Equal(t, "w", read(t, source, name), "the source itself stays writable")
	}
	var stat unix.Statfs_t
	for _, name := range []string{"rw", "rw/inner/innermost", "ro/inner"} {
		require.NoError(t, unix.Statfs(filepath.Join(o.Target, name), &stat))
		assert.NotZero(t, stat.Flags&unix.ST_NOSUID, name)
		assert.NotZero(t, stat.Flags&unix.ST_NODEV, name)
	}
	require.NoError(t, unix.Statfs(source, &stat))
	assert.Zero(t, stat.Flags&(unix.ST_RDONLY|unix.ST_NOSUID|unix.ST_NODEV), "the source's own mount is as it was")
}

// hostile are names in a tree that try to lead elsewhere.
func hostile(t *testing.T, o Overlay) {
	t.Helper()
	for name, to := range map[string]string{
		"absolute": "/etc", "up": "../../../../../../../../etc", "loop": "loop", "loop1": "loop2", "loop2": "loop1",
		"self": ".", "slash": "/", "upup": "..", "selfroot": "/proc/self/root", "magic": "/magicdir/self/root/etc",
		"dangling": "/nowhere/else", "var": "real", "tohosts": "/etc/hosts", "deep": "absolute/../up/../self/slash/var",
	} {
		require.NoError(t, os.Symlink(to, filepath.Join(o.Target, name)))
	}
	require.NoError(t, os.Mkdir(filepath.Join(o.Target, "real"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(o.Target, "proc"+"fs"), 0o755))
}

func TestBindNeverLeavesTheTree(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "source/file", "bound")
	source := filepath.Join(dir, "source")
	outside := snapshot(t, filepath.Join(dir, "source"))
	for target, c := range map[string]struct {
		at   string // where it ends, in the tree
		is   error
		says string
	}{
		"/absolute":               {at: "etc"},
		"/absolute/new":           {at: "etc/new"},
		"/up":                     {at: "etc"},
		"/up/x/y":                 {at: "etc/x/y"},
		"../../../../etc":         {at: "etc"},
		"/a/../../../b":           {at: "b"},
		"/var/run":                {at: "real/run"},
		"/deep/run":               {at: "real/run"},
		"relative/path":           {at: "relative/path"},
		"/upup/etc":               {at: "etc"},
		"/x,y:z\\ \n":             {at: "x,y:z\\ \n"},
		"":                        {is: ErrRoot},
		"/":                       {is: ErrRoot},
		"/..":                     {is: ErrRoot},
		"/etc/..":                 {is: ErrRoot},
		"/self":                   {is: ErrRoot},
		"/slash":                  {is: ErrRoot},
		"/upup":                   {is: ErrRoot},
		"/self/slash/upup/self/.": {is: ErrRoot},
		"/loop":                   {is: unix.ELOOP},
		"/loop1/x":                {is: unix.ELOOP},
		"/dangling":               {is: unix.ENOENT, says: "link to what does not exist"},
		"/dangling/x":             {is: unix.ENOENT, says: "link to what does not exist"},
		"/selfroot":               {is: unix.ENOENT, says: "link to what does not exist"},
		"/etc/hosts":              {is: unix.ENOTDIR, says: "a directory cannot be mounted on a file"},
		"/tohosts":                {is: unix.ENOTDIR},
		"/etc/hosts/x":            {is: unix.ENOTDIR},
		"/nul\x00byte":            {is: unix.EINVAL},
		strings.Repeat("x", 300):  {is: unix.ENAMETOOLONG},
	} {
		t.Run(strings.ToValidUTF8(target[:min(len(target), 40)], "?"), func(t *testing.T) {
			dir := tempDir(t)
			o := newTree(t, dir)
			hostile(t, o)
			before := mountsIn(t, "/")
			err := MountBind(o.Target, o.IDs, Bind{Source: source, Target: target})
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
				assert.Contains(t, err.Error(), c.says)
				assert.Equal(t, before, mountsIn(t, "/"))
				return
			}
			require.NoError(t, err)
			at := filepath.Join(o.Target, c.at)
			assert.Equal(t, "bound", read(t, at, "file"))
			assert.Equal(t, append(before, at), mountsIn(t, "/"))
		})
	}
	assert.Equal(t, outside, snapshot(t, source))
}

func TestBindFollowsNoMagicLink(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "source/file", "x")
	o := newTree(t, dir)
	require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: "/proc", Target: "/magicdir"}))
	hostile(t, o)
	before := mountsIn(t, "/")
	for _, target := range []string{"/magic", "/magicdir/self/root/tmp", "/magicdir/self/cwd", "/magicdir/self/fd/0"} {
		err := MountBind(o.Target, o.IDs, Bind{Source: filepath.Join(dir, "source"), Target: target})
		require.ErrorIs(t, err, unix.ELOOP, target)
	}
	assert.Equal(t, before, mountsIn(t, "/"))
}

func TestBindMakesNothingInABind(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "source/there/file", "x")
	source := filepath.Join(dir, "source")
	o := newTree(t, dir)
	require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: source, Target: "/data"}))
	require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: source, Target: "/data/there"}))
	before := snapshot(t, source)
	err := MountBind(o.Target, o.IDs, Bind{Source: source, Target: "/data/new/dir"})
	require.ErrorIs(t, err, unix.ENOENT)
	require.ErrorContains(t, err, "nothing is made")
	assert.Equal(t, before, snapshot(t, source))
}

func TestBindErrors(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "source/file", "x")
	o := newTree(t, dir)
	file := filepath.Join(dir, "source/file")
	require.ErrorIs(t, MountBind(o.Target, o.IDs, Bind{Source: filepath.Join(dir, "none"), Target: "/x"}), unix.ENOENT)
	require.ErrorIs(t, MountBind(o.Target, o.IDs, Bind{Source: file, Target: "/etc"}), unix.EISDIR)
	require.ErrorContains(t, MountBind(dir, o.IDs, Bind{Source: file, Target: "/x"}), "is not mounted")
	require.Error(t, MountBind(filepath.Join(dir, "none"), o.IDs, Bind{Source: file, Target: "/x"}))
	bad := o.IDs
	bad.Size = 0
	require.Error(t, MountBind(o.Target, bad, Bind{Source: file, Target: "/x"}))
	assert.NoFileExists(t, filepath.Join(dir, "x"))
	assert.NoFileExists(t, filepath.Join(o.Target, "x"))

	require.NoError(t, os.Symlink(file, filepath.Join(dir, "link")))
	require.NoError(t, MountBind(o.Target, o.IDs, Bind{Source: filepath.Join(dir, "link"), Target: "/x"}))
	assert.Equal(t, "x", read(t, o.Target, "x"))
}

// TestBindOfARemovedFile: the kernel clones what is removed but open, and then attaches it nowhere.
func TestBindOfARemovedFile(t *testing.T) {
	dir := tempDir(t)
	o := newTree(t, dir)
	write(t, dir, "program", "old")
	file, err := os.Open(filepath.Join(dir, "program"))
	require.NoError(t, err)
	defer file.Close()
	bind := Bind{Source: procPath(int(file.Fd())), Target: "/.wardend-init", ReadOnly: true}
	require.NoError(t, MountBind(o.Target, o.IDs, bind))
	assert.Equal(t, "old", read(t, o.Target, ".wardend-init"))

	require.NoError(t, os.Remove(file.Name()))
	bind.Target = "/other"
	err = MountBind(o.Target, o.IDs, bind)
	require.ErrorIs(t, err, unix.ENOENT)
	assert.Contains(t, err.Error(), "has been removed")
	assert.NoFileExists(t, filepath.Join(o.Target, "other"))
}
