package scratch

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOptions(t *testing.T) {
	needRoot(t)
	for _, o := range []Options{{}, {Dir: "relative"}, {Dir: t.TempDir(), Size: MinSize - 1}, {Dir: t.TempDir(), Kind: "zfs"}} {
		_, err := Open(t.Context(), o)
		require.Error(t, err)
	}
	s := &testStore{options: Options{Dir: filepath.Join(t.TempDir(), "new"), Kind: KindBtrfs, Size: MinSize}}
	s.open(t)
	s.make(t, "a")
	s.destroy(t)

	s = &testStore{options: Options{Dir: t.TempDir(), Kind: KindImage}}
	s.open(t)
	var image, file unix.Statfs_t
	require.NoError(t, unix.Statfs(s.make(t, "a"), &image))
	require.NoError(t, unix.Statfs(s.options.Dir, &file))
	require.InEpsilon(t, file.Bavail-file.Bavail/kept, image.Blocks, 0.1, "most of what is free, but for what it needs for itself")
	s.destroy(t)
}

func TestAuto(t *testing.T) {
	t.Run("a file system without quotas", func(t *testing.T) {
		s := newStore(t, variant{kind: KindAuto, dir: plain})
		require.Equal(t, "btrfs", s.Name())
		require.FileExists(t, filepath.Join(s.options.Dir, btrfsImage))
	})
	t.Run("btrfs with quotas", func(t *testing.T) {
		s := newStore(t, variant{kind: "", dir: btrfsWith(quotaEnable)})
		require.Equal(t, "btrfs", s.Name())
		require.NoFileExists(t, filepath.Join(s.options.Dir, btrfsImage))
	})
	t.Run("btrfs without quotas", func(t *testing.T) {
		s := newStore(t, variant{kind: KindAuto, dir: btrfsWith(0)})
		image := filepath.Join(s.options.Dir, btrfsImage)
		require.FileExists(t, image, "it is not ours to enable them")
		f, err := os.Open(image)
		require.NoError(t, err)
		defer f.Close()
		flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		require.NoError(t, err)
		require.NotZero(t, flags&noCopyOnWrite)
		_, err = fill(t, filepath.Join(s.make(t, "a"), "file"), mib)
		require.NoError(t, err)
	})
	t.Run("btrfs without quotas, which the operator wants", func(t *testing.T) {
		s := newStore(t, variant{kind: KindBtrfs, dir: btrfsWith(0)})
		require.NoFileExists(t, filepath.Join(s.options.Dir, btrfsImage))
		dir := s.make(t, "a")
		require.NoError(t, s.Limit(t.Context(), "a", mib, 0))
		_, err := fill(t, filepath.Join(dir, "file"), 4*mib)
		requireFull(t, err)
	})
	t.Run("no mkfs.btrfs", func(t *testing.T) {
		bin := t.TempDir()
		require.NoError(t, os.Symlink("/sbin/mkfs.ext4", filepath.Join(bin, "mkfs.ext4")))
		t.Setenv("PATH", bin)
		s := newStore(t, variant{kind: KindAuto, dir: plain})
		require.Equal(t, "image", s.Name())
	})
	t.Run("no mkfs at all", func(t *testing.T) {
		needRoot(t)
		t.Setenv("PATH", t.TempDir())
		dir := t.TempDir()
		_, err := Open(t.Context(), Options{Dir: dir, Size: imgSize})
		var unusable *UnusableError
		require.ErrorAs(t, err, &unusable)
		require.Len(t, unusable.Reasons, 3)
		require.ErrorContains(t, err, "mkfs.btrfs")
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

// Containers stay what they are, whatever the machine has learned since.
func TestKindIsKept(t *testing.T) {
	s := newStore(t, variant{kind: KindImage, dir: plain})
	s.make(t, "a")
	require.NoError(t, s.Close())
	s.options.Kind = KindAuto
	s.open(t)
	require.Equal(t, "image", s.Name())

	s.options.Kind = KindBtrfs
	_, err := Open(t.Context(), s.options)
	var other *OtherKindError
	require.ErrorAs(t, err, &other)
	require.Equal(t, KindImage, other.Kind)

	require.NoError(t, s.Remove(t.Context(), "a")) // and then it is killed
	s.open(t)
	require.Equal(t, "btrfs", s.Name())
	require.NoFileExists(t, filepath.Join(s.options.Dir, templateImage))
}

// This is as much as a kernel without project quotas can show.
func TestQuotaIsRefusedWhereThereIsNone(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{Dir: dir, Kind: KindQuota})
	if err == nil {
		require.NoError(t, s.Close())
		t.Skip("this file system has project quotas")
	}
	var unusable *UnusableError
	require.ErrorAs(t, err, &unusable)
	require.Len(t, unusable.Reasons, 1)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestReadOnlyFileSystemIsMountedAnew(t *testing.T) {
	s := newStore(t, variant{kind: KindBtrfs, dir: plain})
	dir := s.make(t, "a")
	root := filepath.Join(s.options.Dir, btrfsDir)
	require.NoError(t, unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	f, err := os.Open(dir) // it is in use
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s.open(t)
	_, err = s.Open(t.Context(), "a")
	require.NoError(t, err, "can be looked at")
	_, err = s.Make(t.Context(), "b")
	require.ErrorIs(t, err, unix.EROFS)
	require.NoError(t, f.Close())
	require.NoError(t, s.Close())
	s.open(t)
	s.make(t, "b")
}

// What somebody's hand did must not keep a container from going.
func TestForeignThingsInASubvolume(t *testing.T) {
	s := newStore(t, variant{kind: KindBtrfs, dir: plain})
	dir := s.make(t, "a")
	f, err := os.Open(dir)
	require.NoError(t, err)
	require.NoError(t, createSubvolume(f, "nested"))
	require.NoError(t, f.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nested", "file"), nil, fileMode))
	require.NoError(t, os.MkdirAll(filepath.Join(filepath.Dir(dir), "plain", "sub"), dirMode))
	for _, id := range []string{"a", "plain"} {
		require.NoError(t, s.Remove(t.Context(), id))
	}
	ids, err := s.IDs(t.Context())
	require.NoError(t, err)
	require.Empty(t, ids)
}

// The kernel, or for older ones the sweep, leaves no quota group of a subvolume that is gone.
func TestNoQuotaGroupIsLeft(t *testing.T) {
	s := newStore(t, variant{kind: KindBtrfs, dir: plain})
	store, ok := s.Store.(*btrfs)
	require.True(t, ok)
	s.make(t, "stays")
	require.NoError(t, s.Limit(t.Context(), "stays", mib, 0))
	for range 10 {
		s.make(t, "a")
		require.NoError(t, s.Remove(t.Context(), "a"))
	}
	root, err := os.Open(store.root)
	require.NoError(t, err)
	defer root.Close()
	require.Eventually(t, func() bool {
		require.NoError(t, store.sweepGroups(root))
		groups, err := filepath.Glob(filepath.Join(store.groups, "0_*"))
		require.NoError(t, err)
		return len(groups) == 2 // the root's and the one that stays
	}, soon, tick)
	_, err = fill(t, filepath.Join(store.root, "stays", "file"), 2*mib)
	requireFull(t, err)
}

func TestPartsOfAnImageAreRemoved(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, name := range []string{btrfsImage, templateImage} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+partSuffix+"123"), nil, fileMode))
	}
	for _, kind := range []string{KindBtrfs, KindImage} {
		s := &testStore{options: Options{Dir: dir, Kind: kind, Size: imgSize}}
		s.open(t)
		parts, err := filepath.Glob(filepath.Join(dir, "*"+partSuffix+"*"))
		require.NoError(t, err)
		require.Len(t, parts, map[string]int{KindBtrfs: 1, KindImage: 0}[kind])
		require.NoError(t, s.Close())
	}
}

func TestLoopDeviceIsFreedWithItsUser(t *testing.T) {
	needRoot(t)
	image := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(image, make([]byte, mib), fileMode))
	found, err := attached(image)
	require.NoError(t, err)
	require.Nil(t, found)
	device, err := attach(t.Context(), image)
	require.NoError(t, err)
	found, err = attached(image)
	require.NoError(t, err)
	require.Equal(t, device.Name(), found.Name())
	require.NoError(t, found.Close())
	require.Len(t, loopsBeneath(t, filepath.Dir(image)), 1)
	require.NoError(t, device.Close())
	require.Eventually(t, func() bool { return len(loopsBeneath(t, filepath.Dir(image))) == 0 }, time.Second, tick)
}
