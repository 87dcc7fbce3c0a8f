package scratch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestAFullImageLeavesRoomBeside has one container without a limit write all that it can.
func TestAFullImageLeavesRoomBeside(t *testing.T) {
	needRoot(t)
	for _, kind := range []string{KindBtrfs, KindImage} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			image, dir := filepath.Join(t.TempDir(), "operators.img"), t.TempDir()
			require.NoError(t, os.WriteFile(image, nil, fileMode))
			require.NoError(t, os.Truncate(image, 512*mib))
			require.NoError(t, run(t.Context(), "mkfs.ext4", "-q", "-b", "4096", image))
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			require.NoError(t, mountImage(t.Context(), image, dir, "ext4", "", true))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "others"), make([]byte, 64*mib), fileMode))

			s := &testStore{tb: t, options: Options{Dir: filepath.Join(dir, "scratch"), Kind: kind, Instance: "test"}}
			s.open(t)
			t.Cleanup(func() { s.destroy(t) })
			written, err := fill(t, filepath.Join(s.make(t, "a"), "z"), 512*mib)
			requireFull(t, err)
			require.NotErrorIs(t, err, unix.EIO, "the file system that holds the image is full")
			require.Greater(t, written, 128*mib, "most of it can be had")
			require.NoError(t, os.WriteFile(filepath.Join(dir, "record"), make([]byte, mib), fileMode))
			require.NoError(t, s.Remove(t.Context(), "a"))
		})
	}
}
