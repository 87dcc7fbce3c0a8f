package execserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/sandbox"
)

// TestAFullDiskIsSaidToBe: what an app has filled is for its owner to mend, who can look into it by exec no more.
func TestAFullDiskIsSaidToBe(t *testing.T) {
	t.Parallel()
	if err := sandbox.Check(); err != nil {
		t.Skip(err)
	}
	s := serve(t, Options{MaxSessions: 4})
	fill(t, s.instance.ContainerPath)
	s.beginsNothing(t, wordsNoRoom)
}

// fill moves a container to a disk that is full.
func fill(t *testing.T, path string) {
	t.Helper()
	disk := t.TempDir()
	require.NoError(t, unix.Mount("full", disk, "tmpfs", 0, "nr_inodes=100,size=1m"))
	defer func() { require.NoError(t, unix.Unmount(disk, 0)) }()
	said, err := exec.CommandContext(t.Context(), "cp", "-a", path+"/.", disk).CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.NoError(t, unix.Mount(disk, path, "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(path, unix.MNT_DETACH)) })
	for n := 0; err == nil; n++ {
		err = os.Mkdir(filepath.Join(disk, strconv.Itoa(n)), 0o755)
	}
	require.ErrorIs(t, err, unix.ENOSPC)
}
