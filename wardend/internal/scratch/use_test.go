package scratch

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What a container does to its root file system goes through an overlay into the directory.
func TestOverlayOnTop(t *testing.T) {
	forEach(t, func(s *testStore) {
		t := s.tb
		lower, merged, dir := t.TempDir(), t.TempDir(), s.make(t, "a")
		for _, d := range []string{lower + "/d/inner", dir + "/upper", dir + "/work"} {
			require.NoError(t, os.MkdirAll(d, 0o755))
		}
		require.NoError(t, os.WriteFile(lower+"/f", []byte("lower"), 0o644))
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work,redirect_dir=on", lower, dir, dir)
		require.NoError(t, unix.Mount("overlay", merged, "overlay", 0, options))
		defer func() { _ = unix.Unmount(merged, unix.MNT_DETACH) }()

		require.NoError(t, os.Remove(merged+"/f"), "a whiteout")
		require.NoFileExists(t, merged+"/f")
		require.NoError(t, os.Rename(merged+"/d", merged+"/renamed"), "a redirect, in an attribute")
		require.DirExists(t, merged+"/renamed/inner")
		require.NoError(t, os.RemoveAll(merged+"/renamed/inner"))
		require.NoError(t, os.Mkdir(merged+"/renamed/inner", 0o755), "an opaque directory")
		require.NoError(t, unix.Setxattr(merged+"/renamed", "user.x", []byte("y"), 0))
		require.NoError(t, unix.Mkfifo(merged+"/fifo", 0o644))
		require.NoError(t, os.Chown(merged+"/renamed", 100000, 100000))

		require.NoError(t, s.Limit(t.Context(), "a", 8*mib, 0))
		n, err := fill(t, merged+"/big", 64*mib)
		requireFull(t, err)
		require.InDelta(t, 8*mib, n, mib)
		require.NoError(t, os.Remove(merged+"/big"), "a full container can be tidied up")
		require.NoError(t, unmount(t.Context(), merged))
		require.NoError(t, s.Remove(t.Context(), "a"))
	})
}

func TestRemoveWhileAFileIsOpen(t *testing.T) {
	forEach(t, func(s *testStore) {
		t := s.tb
		f, err := os.Create(filepath.Join(s.make(t, "a"), "file"))
		require.NoError(t, err)
		require.NoError(t, s.Remove(t.Context(), "a"))
		ids, err := s.IDs(t.Context())
		require.NoError(t, err)
		require.Empty(t, ids)
		require.NoError(t, f.Close())
	})
}

func TestRemoveOfMany(t *testing.T) {
	forEach(t, func(s *testStore) {
		t := s.tb
		const files, others = 10000, 50
		dir := s.make(t, "a")
		for i := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 3000), fileMode))
		}
		start := time.Now()
		_, _, err := s.Usage(t.Context(), "a")
		require.NoError(t, err)
		t.Log("usage", time.Since(start))
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			_, inodes, err := s.Usage(t.Context(), "a")
			require.NoError(c, err)
			require.EqualValues(c, files+1, inodes)
		}, soon, tick)
		start = time.Now()
		require.NoError(t, s.Remove(t.Context(), "a"))
		t.Log("remove", time.Since(start))
		// The kernel frees the files while other containers are made.
		start = time.Now()
		for i := range others {
			id := fmt.Sprintf("other%d", i)
			_, err := fill(t, filepath.Join(s.make(t, id), "f"), mib) // with a commit
			require.NoError(t, err)
			require.NoError(t, s.Remove(t.Context(), id))
		}
		t.Log("others meanwhile", time.Since(start)/others)
		require.Less(t, time.Since(start), soon)
	})
}
