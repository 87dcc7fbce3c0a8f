package copytree

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// vcap stands for a user of a container's, in the host's numbers.
var vcap = &Owner{UID: 200001, GID: 200002} //nolint:gochecknoglobals // a constant

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
}

// tree makes what a container's root might be, and opens it.
func tree(t testing.TB) (path string, root *os.Root) {
	t.Helper()
	path = t.TempDir()
	root, err := os.OpenRoot(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	return path, root
}

func ownerOf(t testing.TB, path string) Owner {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	return Owner{int(st.Uid), int(st.Gid)}
}

func modeOf(t testing.TB, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Mode()
}

func TestPathsInAContainer(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret"), "the host's")
	base, root := tree(t)
	write(t, filepath.Join(base, "home/dir/file"), "inside")
	for name, to := range map[string]string{
		"home/abs": "/home/dir", "home/rel": "dir", "home/up": "../../../../../home/dir", "home/host": outside, "loop": "loop", "a": "b", "b": "a",
		"home/magic": "/proc/self/root", "file": "/home/dir/file",
	} {
		require.NoError(t, os.Symlink(to, filepath.Join(base, name)))
	}
	for source, ok := range map[string]bool{
		"/home/dir/": true, "home/dir/.": true, "/home/abs/": true, "/home/rel/": true, "/home/up/": true, "/../../home/dir/": true, "/home/dir/file": true,
		"/home/abs/file": true, "/home/dir/..": false, "/home/dir/../dir/file": true,
		"/home/host/": false, "/home/host/secret": false, "/../.." + outside + "/secret": false, "/loop/": false, "/a/x": false, "/home/magic/" + outside + "/": false,
		"": false, "/none": false, "/home/dir/file/": false, "/home/dir/\x00": false,
	} {
		to := t.TempDir()
		err := CopyOut(t.Context(), root, source, to, nil)
		if ok {
			require.NoError(t, err, "%q", source)
			require.Equal(t, "inside", read(t, filepath.Join(to, "file")), "%q", source)
		} else if err != nil {
			require.ErrorIs(t, err, ErrFailed, "%q", source)
		}
		require.NoFileExists(t, filepath.Join(to, "secret"), "%q", source)
	}
	to := t.TempDir()
	require.NoError(t, CopyOut(t.Context(), root, "/home/dir/..", to, nil))
	require.FileExists(t, filepath.Join(to, "dir/file"), "named by where it lies: its content")
	linkTo, err := os.Readlink(filepath.Join(to, "host"))
	require.NoError(t, err, "links are copied as links")
	require.Equal(t, outside, linkTo)

	from := filepath.Join(t.TempDir(), "new")
	write(t, from, "new")
	for target, at := range map[string]string{
		"/home/abs/in": "home/dir/in", "/home/abs": "home/dir/new", "/home/up/": "home/dir/new", "/../../x": "x", "y": "y", "/home/made/": "home/made/new", "/file": "file",
	} {
		require.NoError(t, CopyIn(t.Context(), from, root, target, nil), target)
		require.Equal(t, "new", read(t, filepath.Join(base, at)), target)
		require.Equal(t, fs.FileMode(0), modeOf(t, filepath.Join(base, at)).Type(), "a link in the way is replaced")
	}
	for _, target := range []string{"/home/host/in", "/home/magic/" + outside + "/in", "/loop/in", "/none/in", "/..", "", "/none/..", "/none/."} {
		_ = CopyIn(t.Context(), from, root, target, nil)
	}
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestOwnersInAContainer(t *testing.T) {
	needRoot(t)
	base, root := tree(t)
	require.NoError(t, os.Chmod(base, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(base, "tmp"), 0o777))
	require.NoError(t, os.Chmod(filepath.Join(base, "tmp"), 0o777|fs.ModeSticky))
	from := t.TempDir()
	write(t, filepath.Join(from, "d/suid"), "x")
	require.NoError(t, os.Chmod(filepath.Join(from, "d/suid"), 0o755|fs.ModeSetuid))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(from, "d/link")))
	require.NoError(t, os.Chmod(from, 0o700))

	for range 2 {
		require.NoError(t, CopyIn(t.Context(), from+"/", root, "/tmp", vcap))
		require.Equal(t, Owner{0, 0}, ownerOf(t, filepath.Join(base, "tmp")), "a directory of somebody else's stays his")
		require.Equal(t, 0o777|fs.ModeSticky|fs.ModeDir, modeOf(t, filepath.Join(base, "tmp")))
		require.NoError(t, CopyIn(t.Context(), from+"/d", root, "/new", vcap))
		for _, name := range []string{"tmp/d", "tmp/d/suid", "tmp/d/link", "new", "new/d/link"} {
			require.Equal(t, *vcap, ownerOf(t, filepath.Join(base, name)), name)
		}
		require.Equal(t, 0o755|fs.ModeSetuid, modeOf(t, filepath.Join(base, "tmp/d/suid")), "it is the owner's own")
		require.NoError(t, os.Chmod(filepath.Join(from, "d"), 0o711))
	}
	require.Equal(t, 0o711|fs.ModeDir, modeOf(t, filepath.Join(base, "tmp/d")), "his own takes new permissions")

	to := t.TempDir()
	require.NoError(t, CopyOut(t.Context(), root, "/tmp/d", to, nil))
	require.Equal(t, fs.FileMode(0o755), modeOf(t, filepath.Join(to, "d/suid")), "it would be root's on the host")
	require.Equal(t, Owner{0, 0}, ownerOf(t, filepath.Join(to, "d/suid")))
	require.NoError(t, CopyOut(t.Context(), root, "/tmp/d", to, &Owner{12345, -1}))
	require.NoError(t, CopyOut(t.Context(), root, "/tmp/d/", to+"/made", &Owner{12345, 54321}))
	require.NoError(t, CopyOut(t.Context(), root, "/tmp/d", to+"/made", &Owner{12345, 54321}))
	for name, owner := range map[string]Owner{"d": {12345, 0}, "d/suid": {12345, 0}, "d/link": {12345, 0}, "made": {12345, 54321}, "made/d/link": {12345, 54321}} {
		require.Equal(t, owner, ownerOf(t, filepath.Join(to, name)), name)
	}
}

// TestSetuidForAnother: a copy on the host that is given to somebody does not lend his rights.
func TestSetuidForAnother(t *testing.T) {
	needRoot(t)
	from, to := t.TempDir(), t.TempDir()
	write(t, from+"/suid", "x")
	require.NoError(t, os.Chmod(from+"/suid", 0o755|fs.ModeSetuid|fs.ModeSetgid))
	require.NoError(t, Copy(t.Context(), from+"/suid", to+"/same", nil))
	require.Equal(t, 0o755|fs.ModeSetuid|fs.ModeSetgid, modeOf(t, to+"/same"))
	require.NoError(t, Copy(t.Context(), from+"/suid", to+"/his", vcap))
	require.Equal(t, fs.FileMode(0o755), modeOf(t, to+"/his"))
	require.Equal(t, *vcap, ownerOf(t, to+"/his"))
}

// inside starts a process in user and mount namespaces of its own, which runs script and then waits; it answers the
// process's root, as it sees it.
func inside(t *testing.T, script string) *os.Root {
	t.Helper()
	needRoot(t)
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-ec", script+"\necho ready; read wait")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 200000, Size: 1000}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: ids,
		Credential: &syscall.Credential{},
	}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	if err := cmd.Start(); err != nil {
		t.Skipf("no user namespaces: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", cmd.Process.Pid))
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// TestMountsOfAContainer: what the container has mounted is seen, and can be written where the host's root is nobody.
func TestMountsOfAContainer(t *testing.T) {
	base, err := os.MkdirTemp("", "copytree") // t.TempDir's own parent is closed to others
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(base)) })
	require.NoError(t, os.Chmod(base, 0o755))
	require.NoError(t, os.Mkdir(base+"/own", 0o755))
	root := inside(t, fmt.Sprintf("cd %s; mount -t tmpfs none own; mkdir own/proc own/sub; chmod 777 own; mount --rbind /proc own/proc", base))
	from := t.TempDir()
	write(t, filepath.Join(from, "sub/file"), "in")
	require.NoError(t, os.Symlink("x", filepath.Join(from, "sub/link")))
	own := filepath.Join(base, "own")
	require.NoError(t, CopyIn(t.Context(), from+"/", root, own+"/new", vcap), "root's own files cannot be there at all")
	require.NoFileExists(t, filepath.Join(own, "new/sub/file"), "it is on the container's mount")

	to := t.TempDir()
	require.NoError(t, CopyOut(t.Context(), root, own, to, nil))
	require.Equal(t, "in", read(t, filepath.Join(to, "own/new/sub/file")))
	require.DirExists(t, filepath.Join(to, "own/sub"))
	require.NoFileExists(t, filepath.Join(to, "own/proc"), "what the kernel makes up is left out")
	for _, path := range []string{"/proc/", "/proc/self", "/proc/version", "/proc/self/root/", "/proc/self/cwd/x"} {
		err := CopyOut(t.Context(), root, own+path, t.TempDir(), nil)
		require.ErrorIs(t, err, ErrFailed, path)
	}
	err = CopyIn(t.Context(), from+"/sub/file", root, own+"/proc/self/comm", vcap)
	require.ErrorIs(t, err, errKernels)
	err = CopyIn(t.Context(), from+"/", root, own+"/proc/self", vcap)
	require.ErrorIs(t, err, ErrFailed)
	require.NoError(t, os.MkdirAll(filepath.Join(from, "proc/self"), 0o755))
	err = CopyIn(t.Context(), from+"/", root, own, vcap)
	require.ErrorIs(t, err, errKernels, "deeper, too")
}

// TestTheOwnersThreadIsGivenBack: nothing of the owner is left on it for later work.
func TestTheOwnersThreadIsGivenBack(t *testing.T) {
	needRoot(t)
	_, root := tree(t)
	from := filepath.Join(t.TempDir(), "f")
	write(t, from, "x")
	state := func(task string) string {
		raw, err := os.ReadFile(task)
		if err != nil {
			return "" // it has ended
		}
		var lines []string
		for line := range strings.Lines(string(raw)) {
			if key, _, _ := strings.Cut(line, ":"); key == "Uid" || key == "Gid" || key == "CapEff" {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	before := state("/proc/thread-self/status")
	for range 50 {
		require.NoError(t, CopyIn(t.Context(), from, root, "/f", vcap))
	}
	require.PanicsWithValue(t, "in the thread", func() { _ = asOwner(vcap, func() error { panic("in the thread") }) })
	require.Eventually(t, func() bool {
		tasks, err := filepath.Glob("/proc/self/task/*/status")
		require.NoError(t, err)
		for _, task := range tasks {
			if now := state(task); now != "" && now != before {
				return filepath.Base(filepath.Dir(task)) == strconv.Itoa(os.Getpid()) // the first thread cannot end: it sleeps
			}
		}
		return true
	}, 10*time.Second, 5*time.Millisecond)
}

// TestUnreadable: without root's capabilities a directory may not be read.
func TestUnreadable(t *testing.T) {
	needRoot(t)
	base, root := tree(t)
	require.NoError(t, os.Chmod(base, 0o755))
	write(t, filepath.Join(base, "closed/file"), "x")
	require.NoError(t, os.Chmod(filepath.Join(base, "closed"), 0o700))
	to := t.TempDir()
	require.NoError(t, os.Chmod(to, 0o777))
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		_, _ = unix.SetfsuidRetUid(65534)
		result <- CopyOut(context.Background(), root, "/", to, nil)
	}()
	err := <-result
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, err, fs.ErrPermission)
}
