package initproc

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mountsOf are the mounts of a type on this machine.
func mountsOf(t testing.TB, kind string) []string {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	var all []string
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); f[2] == kind {
			all = append(all, f[1])
		}
	}
	return all
}

// groups makes a cgroup with one named app in it beneath each directory.
func groups(t testing.TB, roots []string) (paths []string) {
	t.Helper()
	needRoot(t)
	for _, root := range roots {
		parent, err := os.MkdirTemp(root, "wdinit")
		if err != nil {
			t.Skipf("no cgroup can be made here: %v", err)
		}
		app := filepath.Join(parent, "app")
		t.Cleanup(func() {
			require.Eventually(t, func() bool {
				_ = os.Remove(app)
				return os.Remove(parent) == nil
			}, wait, tick, "the cgroup is left")
		})
		require.NoError(t, os.Mkdir(app, 0o755)) //nolint:gosec // as the kernel's are
		paths = append(paths, app)
	}
	return paths
}

func openForWriting(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// v1Groups are of the hierarchies that matter to jobs.
func v1Groups(t testing.TB) (apps []string, tasks []*os.File) {
	t.Helper()
	var roots []string
	for _, mount := range mountsOf(t, "cgroup") {
		switch filepath.Base(mount) {
		case "memory", "pids", "cpu", "cpuacct", "cpu,cpuacct":
			roots = append(roots, mount)
		}
	}
	if len(roots) == 0 {
		t.Skip("this machine's cgroups are not of version 1")
	}
	apps = groups(t, roots)
	for _, app := range apps {
		tasks = append(tasks, openForWriting(t, filepath.Join(app, "tasks")))
	}
	return apps, tasks
}

// v2Group is one of the unified hierarchy, which may have no controllers. Delegated, the root of the tests' containers
// may start processes in it.
func v2Group(t testing.TB, delegated bool) (app string, join []*os.File) {
	t.Helper()
	mounts := mountsOf(t, "cgroup2")
	if len(mounts) == 0 {
		t.Skip("this machine has no unified hierarchy of cgroups")
	}
	app = groups(t, mounts[:1])[0]
	if delegated {
		for _, dir := range []string{app, filepath.Dir(app)} {
			require.NoError(t, os.Chown(filepath.Join(dir, "cgroup.procs"), testBase, testBase))
		}
	}
	dir, err := os.Open(app)
	require.NoError(t, err)
	t.Cleanup(func() { _ = dir.Close() })
	return app, []*os.File{dir, openForWriting(t, filepath.Join(app, "cgroup.procs"))}
}

// processesOf are those in a cgroup.
func processesOf(t testing.TB, group, file string) []int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(group, file))
	require.NoError(t, err)
	var pids []int
	for _, field := range strings.Fields(string(raw)) {
		pid, err := strconv.Atoi(field)
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// firstLook is a job that says in which cgroups it is with the first thing that it does.
func firstLook(s *shell, uid uint32) *SpawnSpec {
	spec := s.spec(uid, "")
	spec.Args = []string{"/bin/cat", "/proc/self/cgroup"}
	return spec
}

func TestCgroupsV1(t *testing.T) {
	apps, tasks := v1Groups(t)
	for name, start := range map[string]func(testing.TB, boxOptions) *box{"namespaces": inNamespaces, "runtime": inRuntime} {
		t.Run(name, func(t *testing.T) {
			b := start(t, boxOptions{join: tasks, version: 1})
			s := b.shell(t)
			for _, uid := range []uint32{0, 1000} {
				_, stdout, _ := run(t, s.Client, b.dir, s.ended, firstLook(s, uid))
				require.Equal(t, len(apps), strings.Count(stdout, "/app\n"), stdout)
			}
			spawn(t, s.Client, s.spec(1000, "sleep 1000"))
			job := b.descendants(t)[0]
			for _, app := range apps {
				require.Contains(t, processesOf(t, app, "cgroup.procs"), job)
				inside := processesOf(t, app, "tasks")
				require.NotContains(t, inside, b.pid, "the init itself is not")
				ours := 0
				for _, thread := range threads(t, b.pid) {
					tid, err := strconv.Atoi(thread)
					require.NoError(t, err)
					for _, other := range inside {
						if other == tid {
							ours++
						}
					}
				}
				require.Equal(t, 1, ours, "the thread that forks, and no other")
			}
			require.NoError(t, s.Stop(t.Context(), true, 0))
		})
	}
}

// TestOutOfMemory: what jobs use is charged to their cgroup, and who is ended for it is never the init.
func TestOutOfMemory(t *testing.T) {
	apps, tasks := v1Groups(t)
	var memory string
	for _, app := range apps {
		if strings.Contains(app, "/memory/") {
			memory = app
		}
	}
	if memory == "" {
		t.Skip("no cgroup of version 1 limits memory here")
	}
	const limit = 32 << 20
	require.NoError(t, os.WriteFile(filepath.Join(memory, "memory.limit_in_bytes"), []byte(strconv.Itoa(limit)), 0o600))
	b := inNamespaces(t, boxOptions{join: tasks, version: 1})
	s := b.shell(t)
	for range 3 {
		status, _, _ := run(t, s.Client, b.dir, s.ended, s.spec(1000, "exec tail /dev/zero"))
		require.EqualValues(t, ExitKilled, status.ExitStatus)
		require.Equal(t, "lives\n", s.run(1000, "echo lives"))
	}
	require.False(t, s.Lost())
}

// TestProcessesUpToTheLimit: the limit of the cgroup holds for jobs, and the init says what it was.
func TestProcessesUpToTheLimit(t *testing.T) {
	apps, tasks := v1Groups(t)
	for _, app := range apps {
		if strings.Contains(app, "/pids/") {
			require.NoError(t, os.WriteFile(filepath.Join(app, "pids.max"), []byte("6"), 0o600))
			b := inNamespaces(t, boxOptions{join: tasks, version: 1})
			s := b.shell(t)
			var err error
			for range 8 {
				if _, err = s.Spawn(t.Context(), s.spec(1000, "exec sleep 1000")); err != nil {
					break
				}
			}
			require.ErrorContains(t, err, "as many processes as it may have")
			require.NoError(t, s.Stop(t.Context(), true, 0), "which needs no new process")
			require.Equal(t, "again\n", s.run(1000, "echo again"))
			return
		}
	}
	t.Skip("no cgroup of version 1 limits processes here")
}

func TestCgroupsV2(t *testing.T) {
	for name, c := range map[string]struct {
		delegated bool
		refuse    []uint32
		first     bool
	}{
		"born there":                   {delegated: true, first: true},
		"without permission":           {first: true},
		"without clone3":               {delegated: true, refuse: []uint32{unix.SYS_CLONE3}, first: true},
		"without clone3 and tracing":   {refuse: []uint32{unix.SYS_CLONE3, unix.SYS_PTRACE}},
		"without permission to detach": {refuse: []uint32{unix.SYS_CLONE3}, first: true},
	} {
		t.Run(name, func(t *testing.T) {
			app, join := v2Group(t, c.delegated)
			b := inNamespaces(t, boxOptions{join: join, version: 2, refuse: c.refuse})
			testV2(t, b, app, c.first)
		})
	}
	t.Run("runtime", func(t *testing.T) {
		app, join := v2Group(t, true)
		testV2(t, inRuntime(t, boxOptions{join: join, version: 2}), app, true)
	})
}

func testV2(t *testing.T, b *box, app string, first bool) {
	t.Helper()
	s := b.shell(t)
	for _, uid := range []uint32{0, 1000} {
		if first {
			_, stdout, _ := run(t, s.Client, b.dir, s.ended, firstLook(s, uid))
			require.Contains(t, stdout, "/app\n")
		}
		require.Contains(t, s.run(uid, "cat /proc/self/cgroup"), "/app\n")
	}
	spawn(t, s.Client, s.spec(1000, "sleep 1000"))
	job := b.descendants(t)[0]
	inside := processesOf(t, app, "cgroup.procs")
	require.Contains(t, inside, job)
	require.NotContains(t, inside, b.pid)
	for range 20 {
		_, err := s.Spawn(t.Context(), s.spec(1000, "sleep 1000"))
		require.NoError(t, err)
		require.NoError(t, s.Stop(t.Context(), true, 0))
	}
	require.Empty(t, b.descendants(t))
	spec := s.spec(1000, "")
	spec.Args = []string{"/no/such/program"}
	_, err := s.Spawn(t.Context(), spec)
	require.ErrorContains(t, err, "no such file")
	require.Empty(t, b.descendants(t))
}

// TestEveryWayIntoACgroup, each by itself.
func TestEveryWayIntoACgroup(t *testing.T) {
	app, join := v2Group(t, false)
	ways := forkWays([]int{int(join[0].Fd()), int(join[1].Fd())})
	require.Len(t, ways, 3)
	for i, way := range ways {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		in, out, err := os.Pipe()
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() {
			// As the forking thread is locked: what is traced is let go by who traces it.
			onThread(func() {
				done <- func() error {
					pid, err := way("/bin/sh", []string{"sh", "-c", "read x; cat /proc/self/cgroup"}, &syscall.ProcAttr{
						Dir: "/", Files: []uintptr{in.Fd(), w.Fd(), 2}, Sys: &syscall.SysProcAttr{},
					})
					if err != nil {
						return err
					}
					_, _ = out.WriteString("go\n")
					var ws syscall.WaitStatus
					_, err = syscall.Wait4(pid, &ws, 0, nil)
					if err == nil && ws.ExitStatus() != 0 {
						err = fmt.Errorf("exit status %d", ws.ExitStatus())
					}
					return err
				}()
			})
		}()
		require.NoError(t, <-done, "way %d", i)
		require.NoError(t, w.Close())
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Contains(t, string(text), filepath.Base(filepath.Dir(app))+"/app\n", "way %d", i)
		for _, f := range []*os.File{r, in, out} {
			require.NoError(t, f.Close())
		}
	}
}

// TestWaysAreGivenUpOnce: what does not work here is not tried for each job.
func TestWaysAreGivenUpOnce(t *testing.T) {
	tried := 0
	refused := func(err error) forkWay {
		return func(string, []string, *syscall.ProcAttr) (int, error) {
			tried++
			return 0, err
		}
	}
	works := func(string, []string, *syscall.ProcAttr) (int, error) { return 7, nil }
	f := &threadForker{ways: []forkWay{refused(unix.ENOSYS), refused(unix.EACCES), works}}
	for range 3 {
		pid, err := f.start(forkCall{})
		require.NoError(t, err)
		require.Equal(t, 7, pid)
	}
	require.Equal(t, 2, tried)
	f.ways = []forkWay{refused(unix.EAGAIN), works}
	_, err := f.start(forkCall{})
	require.ErrorIs(t, err, unix.EAGAIN, "a limit is not got round")
	f.ways = []forkWay{refused(unix.ENOENT), refused(unix.ENOENT)}
	_, err = f.start(forkCall{})
	require.ErrorIs(t, err, unix.ENOENT)
	require.Len(t, f.ways, 2)
}

// TestKilledWhileItStarts: a Stop at the same time as a Spawn neither hangs nor leaves anything.
func TestKilledWhileItStarts(t *testing.T) {
	_, join := v2Group(t, false)
	b := inNamespaces(t, boxOptions{join: join[1:], version: 2})
	s, other := b.shell(t), b.shell(t)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for ctx.Err() == nil {
			_ = other.Stop(ctx, true, 0)
		}
	}()
	for range 100 {
		_, _ = s.Spawn(t.Context(), s.spec(1000, "sleep 1000"))
	}
	cancel()
	<-stopped
	require.NoError(t, s.Stop(t.Context(), true, 0))
	require.Empty(t, b.descendants(t))
	for _, j := range jobs(t, s.Client) {
		require.True(t, j.Ended)
	}
	require.Equal(t, "lives\n", s.run(1000, "echo lives"))
}

// tellThreads is run by a program's first goroutine before all else, which then has the main thread.
func tellThreads() {
	fmt.Println(unix.Gettid() == os.Getpid())
	onThread(func() { fmt.Println(unix.Gettid() == os.Getpid()) })
	onThread(func() { onThread(func() { fmt.Println(unix.Gettid() == os.Getpid()) }) })
}

// TestOnThread: what is called there never runs on the main thread, also when it is called from there.
func TestOnThread(t *testing.T) {
	out, err := exec.Command("/proc/self/exe", threadsCommand).Output()
	require.NoError(t, err)
	require.Equal(t, "true\nfalse\nfalse\n", string(out))
}
