package passwd_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/passwd"
)

const good = "root:x:0:0:root:/root:/bin/bash\nnonsense\nvcapital:x:1:1::/:/bin/sh\nvcap:x:2000:2001::/home/vcap:/bin/bash\nvcap:x:5:5::/:/bin/sh\n"

func stack(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "etc"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc", "passwd"), []byte(content), 0o644))
	return dir
}

func TestOf(t *testing.T) {
	want := passwd.Entry{UID: 2000, GID: 2001, Home: "/home/vcap"}
	dir := stack(t, good)
	for _, rootfs := range []string{dir, t.TempDir() + ":" + dir, dir + ":" + stack(t, "vcap:x:1:1::/:/bin/sh\n")} {
		got, err := passwd.Of(rootfs, "vcap")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestOfRefuses(t *testing.T) {
	elsewhere := stack(t, good)
	linked := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(elsewhere, "etc"), filepath.Join(linked, "etc")))
	fifo := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(fifo, "etc"), 0o755))
	require.NoError(t, syscall.Mkfifo(filepath.Join(fifo, "etc", "passwd"), 0o600))
	for name, c := range map[string]struct{ rootfs, words string }{
		"no user":      {stack(t, "root:x:0:0::/:/bin/sh\n"), "no such user"},
		"no number":    {stack(t, "vcap:x:many:0::/:/bin/sh\n"), "uid of vcap"},
		"no group":     {stack(t, "vcap:x:1:::/:/bin/sh\n"), "gid of vcap"},
		"too high":     {stack(t, "vcap:x:65536:0::/:/bin/sh\n"), "no number from 0 to 65535"},
		"too short":    {stack(t, "vcap:x:1:1::/\n"), "6 fields in place of 7"},
		"bad home":     {stack(t, "vcap:x:1:1::home:/bin/sh\n"), "no absolute path"},
		"too large":    {stack(t, strings.Repeat("#\n", passwd.MaxFile)), "more than"},
		"link outside": {linked, "escapes"},
		"a fifo":       {fifo, "no regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := passwd.Of(c.rootfs, "vcap")
			require.ErrorContains(t, err, c.words)
		})
	}
	_, err := passwd.Of(filepath.Join(t.TempDir(), "none")+":"+t.TempDir(), "vcap")
	require.ErrorIs(t, err, fs.ErrNotExist)
}
