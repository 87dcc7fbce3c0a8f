package initproc

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// previousRelease is the last commit whose inits speak version 1 of the protocol. Containers outlive their wardend, so
// there are such inits for as long as a container of that release lives.
const previousRelease = "53c70abd6d74051052ac74a0306c7ef95e1a5272"

// buildPrevious builds that release's wardend out of this repository.
func buildPrevious(t testing.TB) (program string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds another release")
	}
	git := func(args ...string) ([]byte, error) { return exec.Command("git", args...).Output() }
	top, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		t.Skipf("there is no repository here to build the previous release from: %v", err)
	}
	root := strings.TrimSpace(string(top))
	if _, err := git("-C", root, "cat-file", "-e", previousRelease+"^{commit}"); err != nil {
		t.Skipf("this repository does not go back to commit %s", previousRelease)
	}
	archive, err := git("-C", root, "archive", previousRelease, "go.mod", "go.sum", "warden", "wardend", "internal")
	require.NoError(t, err)
	dir := t.TempDir()
	unpack(t, archive, dir)
	program = filepath.Join(dir, "previous")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./wardend")
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

func unpack(t testing.TB, archive []byte, dir string) {
	t.Helper()
	for files := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		path := filepath.Join(dir, filepath.FromSlash(header.Name)) //nolint:gosec // of this repository
		switch header.Typeflag {
		case tar.TypeDir:
			require.NoError(t, os.MkdirAll(path, 0o700))
		case tar.TypeReg:
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			content, err := io.ReadAll(files)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, content, 0o600))
		}
	}
}

// TestInitsOfThePreviousRelease do all that they could do for the wardend that started them.
func TestInitsOfThePreviousRelease(t *testing.T) {
	program := buildPrevious(t)
	dir := filepath.Join(t.TempDir(), "init")
	require.NoError(t, Start(dir, []string{program, commandName}))
	t.Cleanup(func() { require.NoError(t, Kill(dir)) })
	ended, output, lost := make(chan JobStatus, 10), make(chan uint32, 100), make(chan error, 1)
	c := connect(t, dir, Events{
		Ended:  func(j JobStatus) { ended <- j },
		Output: func(job uint32) { output <- job },
		Lost:   func(err error) { lost <- err },
	})
	require.Equal(t, 1, c.Version())

	// Somebody else's job: refused before the init hears of it, which would run it as itself.
	other := script(1, "id -u")
	other.User = &User{UID: 1000, GID: 1000}
	_, err := c.Spawn(t.Context(), other)
	require.ErrorIs(t, err, ErrTooOld)
	require.Empty(t, jobs(t, c))

	status, stdout, stderr := run(t, c, dir, ended, script(1, "echo out; echo err >&2; exit 5"))
	require.EqualValues(t, 5, status.ExitStatus)
	require.Equal(t, "out\n", stdout)
	require.Equal(t, "err\n", stderr)
	status, stdout, _ = run(t, c, dir, ended, script(2, "yes"))
	require.True(t, status.Overflow)
	require.EqualValues(t, ExitKilled, status.ExitStatus)
	require.Len(t, stdout, 1000)

	limited := script(3, "ulimit -Hn; ulimit -Ss")
	limited.Rlimits = []Rlimit{
		{Name: "nofile", Resource: unix.RLIMIT_NOFILE, Value: 77}, {Name: "stack", Resource: unix.RLIMIT_STACK, Value: 4 << 20},
	}
	_, stdout, _ = run(t, c, dir, ended, limited)
	require.Equal(t, "77\n4096\n", stdout)

	spawn(t, c, script(4, "echo one; sleep 1000"))
	require.NoError(t, c.Watch(t.Context(), 4))
	require.Eventually(t, func() bool {
		out, _, err := ReadOutputUpTo(dir, 4, 1<<20)
		return err == nil && string(out) == "one\n"
	}, wait, tick)
	spawn(t, c, script(5, "trap '' TERM; sleep 1000; sleep 1000"))
	c.Unwatch(4)
	c.Close()

	// The next wardend.
	c = connect(t, dir, Events{Ended: func(j JobStatus) { ended <- j }, Lost: func(err error) { lost <- err }})
	found := jobs(t, c)
	require.Len(t, found, 5)
	require.EqualValues(t, 5, found[1].ExitStatus)
	require.False(t, found[4].Ended)
	require.NoError(t, c.Forget(1))
	require.NoError(t, c.Stop(t.Context(), false, 50*time.Millisecond))
	for _, j := range jobs(t, c) {
		require.True(t, j.Ended)
	}
	require.NoError(t, c.Shutdown(t.Context()))
	require.Eventually(t, func() bool { return gone(c.PID()) }, wait, tick)
	kept, err := ReadJobs(dir)
	require.NoError(t, err)
	require.Len(t, kept, 4)
	require.Empty(t, lost, "nothing was lost")
}
