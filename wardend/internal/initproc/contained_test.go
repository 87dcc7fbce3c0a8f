package initproc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// Commands of the test's program, beside an init's.
const (
	enterCommand   = "enter"
	attackCommand  = "attack"
	stormCommand   = "storm"
	threadsCommand = "threads"
)

// testIDs are what the ids of the tests' containers are on the machine.
const (
	testBase = 300000
	testSize = 65536
)

// runtimeCapabilities are those of an init in a container.
func runtimeCapabilities() []uintptr {
	return append(jobCapabilities(), unix.CAP_SETPCAP, unix.CAP_SYS_RESOURCE, unix.CAP_MKNOD, unix.CAP_AUDIT_WRITE)
}

// box is a container around an init, made of nothing but namespaces or by an OCI runtime.
type box struct {
	dir string
	// pid is the init's on the machine.
	pid int
	// program is the path in the container of the test's program.
	program string
}

// boxOptions are how a box differs.
type boxOptions struct {
	// join and version are Inherited.Command's.
	join    []*os.File
	version int
	// refuse are system calls that fail with ENOSYS.
	refuse []uint32
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make user namespaces with many users")
	}
}

// shortDir is a directory that everybody can enter.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "init")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // for the users of the container
	return dir
}

// copySelf puts the test's program where everybody can run it.
func copySelf(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "program")
	in, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755) //nolint:gosec // as said
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
	return path
}

// inNamespaces starts an init as process 1 of new namespaces, where the machine's files are the container's too.
func inNamespaces(t testing.TB, o boxOptions) *box {
	t.Helper()
	needRoot(t)
	top := shortDir(t)
	b := &box{dir: filepath.Join(top, "state"), program: copySelf(t, top)}
	in, err := Prepare(b.dir, testBase, testBase)
	require.NoError(t, err)
	defer in.Close()
	files, args := in.Command(b.program, o.join, o.version)
	refused := make([]string, 0, len(o.refuse))
	for _, call := range o.refuse {
		refused = append(refused, strconv.Itoa(int(call)))
	}
	cmd := exec.Command(b.program, append([]string{enterCommand, strings.Join(refused, ",")}, args[1:]...)...)
	cmd.Env, cmd.Dir = Environment(), "/"
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = in.Log, in.Log, files
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: testBase, Size: testSize}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{}, Setsid: true,
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no user namespace can be made here: %v", err)
	}
	b.pid = cmd.Process.Pid
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	return b
}

// enter is the first process of the namespaces until it becomes the init: it does what an OCI runtime would.
func enter(refused string, args []string) error {
	runtime.LockOSThread()
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/mnt", "tmpfs", 0, "mode=1777"); err != nil {
		return fmt.Errorf("mount /mnt: %w", err)
	}
	if err := dropBounding(runtimeCapabilities()); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	for call := range strings.SplitSeq(refused, ",") {
		if number, err := strconv.ParseUint(call, 10, 32); err == nil {
			if err := refuse(uint32(number)); err != nil {
				return fmt.Errorf("refuse a system call: %w", err)
			}
		}
	}
	return unix.Exec("/proc/self/exe", append([]string{"wardend"}, args...), os.Environ())
}

// refuse makes a system call fail with ENOSYS, as the usual seccomp profile does with clone3.
func refuse(call uint32) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0) //nolint:gosec // the kernel wants it so
}

// eachBox runs a test with an init in namespaces, and with one in a real container.
func eachBox(t *testing.T, test func(t *testing.T, b *box)) {
	t.Helper()
	t.Run("namespaces", func(t *testing.T) { test(t, inNamespaces(t, boxOptions{})) })
	t.Run("runtime", func(t *testing.T) { test(t, inRuntime(t, boxOptions{})) })
}

// run runs a job to its end.
func run(t testing.TB, c *Client, dir string, ended <-chan JobStatus, spec *SpawnSpec) (status JobStatus, stdout, stderr string) {
	t.Helper()
	_, err := c.Spawn(t.Context(), spec)
	require.NoError(t, err)
	for timeout := time.After(wait); status.Job != spec.Job; {
		select {
		case status = <-ended:
		case <-timeout:
			require.Fail(t, "the job does not end", "%+v", spec)
		}
	}
	out, errOut, err := ReadOutputUpTo(dir, spec.Job, spec.OutputLimit)
	require.NoError(t, err)
	return status, string(out), string(errOut)
}

// shell is a client of a box whose jobs are run one after the other.
type shell struct {
	t testing.TB
	*Client
	dir   string
	ended chan JobStatus
	next  uint32
}

func (b *box) shell(t testing.TB) *shell {
	t.Helper()
	const enough = 1000
	s := &shell{t: t, dir: b.dir, ended: make(chan JobStatus, enough)}
	var err error
	s.Client, err = Connect(t.Context(), b.dir, Events{Ended: func(j JobStatus) {
		select {
		case s.ended <- j:
		default:
		}
	}})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// spec is a job as a user of the container.
func (s *shell) spec(uid uint32, text string) *SpawnSpec {
	s.next++
	spec := script(s.next, text)
	spec.User = &User{UID: uid, GID: uid}
	spec.OutputLimit = 1 << 20
	return spec
}

// run gives what a script of root's or of another user's writes.
func (s *shell) run(uid uint32, text string) (stdout string) {
	s.t.Helper()
	spec := s.spec(uid, text)
	_, stdout, stderr := run(s.t, s.Client, s.dir, s.ended, spec)
	require.Empty(s.t, stderr)
	return stdout
}

// threads are those of a process.
func threads(t testing.TB, pid int) []string {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	require.NoError(t, err)
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func openFiles(t testing.TB, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	return len(entries)
}

// descendants are the processes of a box, but for its init.
func (b *box) descendants(t testing.TB) []int {
	t.Helper()
	pids, err := proctree.Descendants(b.pid)
	require.NoError(t, err)
	return pids
}

var runtimeOnce = sync.OnceValues(func() (string, error) {
	for _, name := range []string{"runc", "crun"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("neither runc nor crun is installed")
})
