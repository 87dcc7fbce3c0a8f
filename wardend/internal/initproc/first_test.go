package initproc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fields are of a process's /proc/PID/status.
func fields(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		all[name] = strings.Join(strings.Fields(value), " ")
	}
	return all
}

func TestUsersOfJobs(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		require.Equal(t, 1, s.PID(), "pids are those of the container")
		require.Equal(t, Version, s.Version())
		const look = "cat /proc/self/status"
		none := strings.Repeat("0", 16)
		ours := uint64(0)
		for _, c := range jobCapabilities() {
			ours |= 1 << c
		}
		ofRoot := fmt.Sprintf("%016x", ours)

		spec := s.spec(1000, look)
		spec.User = &User{UID: 1000, GID: 1001, Groups: []uint32{1002, 1003}}
		_, stdout, _ := run(t, s.Client, b.dir, s.ended, spec)
		vcap := fields(stdout)
		assert.Equal(t, "1000 1000 1000 1000", vcap["Uid"])
		assert.Equal(t, "1001 1001 1001 1001", vcap["Gid"])
		assert.Equal(t, "1002 1003", vcap["Groups"])
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			assert.Equal(t, none, vcap[set], set)
		}
		assert.Equal(t, ofRoot, vcap["CapBnd"])
		assert.Equal(t, "1", vcap["NoNewPrivs"])

		root := fields(s.run(0, look))
		spec = s.spec(0, look)
		spec.User = nil
		_, stdout, _ = run(t, s.Client, b.dir, s.ended, spec)
		for _, got := range []map[string]string{root, fields(stdout)} {
			assert.Equal(t, "0 0 0 0", got["Uid"])
			assert.Equal(t, "0 0 0 0", got["Gid"])
			for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
				assert.Equal(t, ofRoot, got[set], set)
			}
			assert.Equal(t, none, got["CapInh"])
			assert.Equal(t, none, got["CapAmb"])
			assert.Equal(t, none[:len(got["SigIgn"])], got["SigIgn"], "signals are at their default")
		}
		require.Equal(t, "again\n", s.run(1000, "echo again > /proc/self/fd/1"), "a job can open its own output")
	})
}

func TestSpawnRefusedInAContainer(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		s.run(0, "true")
		files := openFiles(t, b.pid)
		for words, change := range map[string]func(*SpawnSpec){
			"start /no/such/program in /: no such file":               func(x *SpawnSpec) { x.Args = []string{"/no/such/program"} },
			"the job's directory /no/such/dir: no such file":          func(x *SpawnSpec) { x.Dir = "/no/such/dir" },
			"the container has no user or group with the id 70000":    func(x *SpawnSpec) { x.User.UID = 70000 },
			"the container has no user or group with the id 70001":    func(x *SpawnSpec) { x.User.GID = 70001 },
			"the container has no user or group with the id 70002":    func(x *SpawnSpec) { x.User.Groups = []uint32{1, 70002} },
			"the container has no user or group with the id 42949672": func(x *SpawnSpec) { x.User.UID = 1<<32 - 1 },
			"no program to run":                  func(x *SpawnSpec) { x.Args = nil },
			"start /usr in /: permission denied": func(x *SpawnSpec) { x.Args = []string{"/usr"} },
		} {
			spec := s.spec(1000, "")
			change(spec)
			_, err := s.Spawn(t.Context(), spec)
			require.ErrorContains(t, err, words)
		}
		require.ErrorContains(t, s.Forward(t.Context(), ForwardSpec{Listen: "127.0.0.1:1", Target: "127.0.0.1:2"}), "a network of its own")
		require.Len(t, jobs(t, s.Client), 1)
		entries, err := os.ReadDir(filepath.Join(b.dir, jobsName))
		require.NoError(t, err)
		require.Len(t, entries, 2, "of the job that succeeded: it had no output")
		require.Eventually(t, func() bool { return openFiles(t, b.pid) == files }, wait, tick, "no file is left open")
		require.Empty(t, b.descendants(t))
	})
}

// TestRlimitsOfAnotherUser: the init may set those of any process of its container, but raise none over its own.
func TestRlimitsOfAnotherUser(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		for _, uid := range []uint32{0, 1000} {
			spec := s.spec(uid, "ulimit -Hn; ulimit -Ss; ulimit -Hu")
			spec.Rlimits = []Rlimit{
				{Name: "nofile", Resource: unix.RLIMIT_NOFILE, Value: 77},
				{Name: "stack", Resource: unix.RLIMIT_STACK, Value: 4 << 20},
				{Name: "nproc", Resource: unix.RLIMIT_NPROC, Value: 55},
			}
			_, stdout, _ := run(t, s.Client, b.dir, s.ended, spec)
			require.Equal(t, "77\n4096\n55\n", stdout)
			spec = s.spec(uid, "ulimit -Hn")
			spec.Rlimits = []Rlimit{{Name: "nofile", Resource: unix.RLIMIT_NOFILE, Value: 1 << 40}}
			lowered, err := s.Spawn(t.Context(), spec)
			require.NoError(t, err)
			require.Equal(t, []string{"nofile"}, lowered)
		}
	})
}

// TestStopInAContainer ends what has left its job's session and what has no parent any more.
func TestStopInAContainer(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		leave := "(setsid sleep 1000 & setsid sleep 1000 &) >/dev/null 2>&1;"
		spawn(t, s.Client, s.spec(1000, leave+"sleep 1000"))
		spawn(t, s.Client, s.spec(0, leave+"sleep 1000"))
		require.Eventually(t, func() bool { return len(b.descendants(t)) >= 6 }, wait, tick)
		require.NoError(t, s.Stop(t.Context(), false, time.Minute))
		require.Empty(t, b.descendants(t), "TERM ends them, and they are reaped")

		spawn(t, s.Client, s.spec(1000, "trap '' TERM; (trap '' TERM; setsid sleep 1000 &); while :; do sleep 1000; done"))
		require.Eventually(t, func() bool { return len(b.descendants(t)) >= 3 }, wait, tick)
		require.NoError(t, s.Stop(t.Context(), false, 20*time.Millisecond))
		require.Empty(t, b.descendants(t), "KILL ends those that do not mind TERM")
		for _, j := range jobs(t, s.Client) {
			require.True(t, j.Ended)
			require.EqualValues(t, ExitKilled, j.ExitStatus)
		}
		require.Equal(t, "goes on\n", s.run(1000, "echo goes on"))
	})
}

// TestForkBomb: it cannot outrun a Stop.
func TestForkBomb(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		for range 3 {
			spec := s.spec(1000, "exec 2>/dev/null; bomb() { bomb | bomb & }; bomb; while :; do bomb; done")
			spec.Rlimits = []Rlimit{{Name: "nproc", Resource: unix.RLIMIT_NPROC, Value: 100}}
			spawn(t, s.Client, spec)
			require.Eventually(t, func() bool { return len(b.descendants(t)) > 50 }, wait, tick)
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			require.NoError(t, s.Stop(ctx, true, 0))
			cancel()
			require.Empty(t, b.descendants(t))
		}
	})
}

// storm becomes processes that each fork once, in sessions of their own, and end: whoever lists them comes too late. They
// end by themselves after a while.
func storm() {
	const processes, seconds = 8, 30
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	for range processes {
		if pid, _, _ := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0); pid == 0 {
			hop(now.Sec + seconds)
		}
	}
	os.Exit(0)
}

// hop does nothing but system calls: a forked Go program has but the one thread, and no scheduler.
func hop(deadline int64) {
	var now unix.Timespec
	for now.Sec < deadline {
		_, _, _ = syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
		if pid, _, _ := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0); pid != 0 {
			break
		}
		_, _, _ = syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&now)), 0) //nolint:gosec // the kernel wants it so
	}
	_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
}

// TestStorm: what forks and ends all the time cannot outrun a Stop, though none of it is there for long.
func TestStorm(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		for range 5 {
			spec := s.spec(1000, "")
			spec.Args = []string{b.program, stormCommand}
			status, _, _ := run(t, s.Client, b.dir, s.ended, spec)
			require.Zero(t, status.ExitStatus)
			require.NotEmpty(t, b.descendants(t))
			start := time.Now()
			require.NoError(t, s.Stop(t.Context(), true, 0))
			require.Empty(t, b.descendants(t))
			require.Less(t, time.Since(start), 5*time.Second)
		}
	})
}

// TestHide: beside the other things that keep jobs out of the init.
func TestHide(t *testing.T) {
	defer func() { require.NoError(t, unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)) }()
	require.NoError(t, hide())
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	require.NoError(t, err)
	require.Zero(t, dumpable)
}

// TestSignalsFromTheContainersRoot do nothing to the init.
func TestSignalsFromTheContainersRoot(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		s.run(0, "for s in {1..64}; do kill -$s 1; kill -$s 1; done 2>/dev/null; true")
		require.Equal(t, "lives\n", s.run(1000, "kill -TERM 1 2>/dev/null; echo lives"))
	})
}

func TestTheEndOfAContainer(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		spawn(t, s.Client, s.spec(1000, "trap '' TERM; setsid sleep 1000"))
		require.NoError(t, s.Shutdown(t.Context()))
		require.Eventually(t, func() bool { return gone(b.pid) }, wait, tick)
		require.ErrorIs(t, Kill(b.dir), errInContainer, "what an init writes of itself ends no process of the machine's")
	})
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		spawn(t, s.Client, s.spec(1000, "trap '' TERM; setsid sleep 1000"))
		require.NoError(t, os.RemoveAll(b.dir))
		require.Eventually(t, func() bool { return gone(b.pid) }, wait, tick, "it ends with its state")
	})
}

// TestOrphansAreReaped whoever left them.
func TestOrphansAreReaped(t *testing.T) {
	b := inNamespaces(t, boxOptions{})
	s := b.shell(t)
	s.run(1000, "for i in {1..50}; do (setsid true & true) & done; wait")
	require.Eventually(t, func() bool { return len(b.descendants(t)) == 0 }, wait, tick)
}

func TestLaterClientsOfAContainer(t *testing.T) {
	b := inNamespaces(t, boxOptions{})
	s := b.shell(t)
	spawn(t, s.Client, s.spec(1000, "echo out; exit 3"))
	require.Eventually(t, func() bool { return jobs(t, s.Client)[1].Ended }, wait, tick)
	s.Close()
	again := b.shell(t)
	require.EqualValues(t, 3, jobs(t, again.Client)[1].ExitStatus)
	require.NoError(t, unix.Kill(b.pid, unix.SIGKILL))
	require.Eventually(t, again.Lost, wait, tick)
	found, err := ReadJobs(b.dir)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.EqualValues(t, 3, found[0].ExitStatus)
	require.NoError(t, RemoveJob(b.dir, 1))
	require.NoError(t, RemoveJob(b.dir, 1), "again")
	found, err = ReadJobs(b.dir)
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestOptions(t *testing.T) {
	o, err := parseOptions(nil)
	require.NoError(t, err)
	require.False(t, o.contained())
	o, err = parseOptions([]string{argState, "4", argCgroupV1, "5,6,7"})
	require.NoError(t, err)
	require.Equal(t, options{state: 4, v1: []int{5, 6, 7}}, o)
	o, err = parseOptions([]string{argCgroupV2, "5", argState, "4", argProbe})
	require.NoError(t, err)
	require.Equal(t, options{probe: true, state: 4, v2: []int{5}}, o)
	for _, args := range [][]string{
		{"x"},
		{argState},
		{argState, "x"},
		{argState, "3"},
		{argState, "-1"},
		{argState, "4294967300"},
		{"--x", "4"},
		{argCgroupV1, "5"},
		{argState, "4", argCgroupV1, "5,,6"},
		{argState, "4", argCgroupV1, "5", argCgroupV2, "6"},
		{argState, "4", argCgroupV2, "5,6,7"},
	} {
		_, err := parseOptions(args)
		require.Error(t, err, "%v", args)
	}
	require.Zero(t, Main(argProbe))
	require.Equal(t, 1, Main("x"))
}

// TestOnlyProcessOneIsAContainersInit: another would end all processes of the machine.
func TestOnlyProcessOneIsAContainersInit(t *testing.T) {
	_, err := beFirst(options{state: 1000})
	require.ErrorIs(t, err, errNotFirst)
}

func TestPrepare(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(shortDir(t), "new", "state")
	for range 2 {
		in, err := Prepare(dir, testBase, testBase+1)
		require.NoError(t, err)
		for name, mode := range map[string]os.FileMode{".": 0o700 | os.ModeDir, jobsName: 0o700 | os.ModeDir, logName: 0o600} {
			info, err := os.Stat(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode(), name)
			var stat unix.Stat_t
			require.NoError(t, unix.Stat(filepath.Join(dir, name), &stat))
			require.EqualValues(t, testBase, stat.Uid, name)
			require.EqualValues(t, testBase+1, stat.Gid, name)
		}
		files, args := in.Command("/init", []*os.File{in.Log}, 1)
		require.Len(t, files, 3)
		require.Equal(t, "/init init --state-fd 4 --cgroup-v1-fds 5", strings.Join(args, " "))
		in.Close()
	}
	_, err := Prepare("/proc/no/such", 0, 0)
	require.ErrorContains(t, err, "prepare /proc/no/such")
}

// BenchmarkSpawnInAContainer is a job's whole life, as another user.
func BenchmarkSpawnInAContainer(b *testing.B) {
	for name, start := range map[string]func(testing.TB, boxOptions) *box{"namespaces": inNamespaces, "runtime": inRuntime} {
		b.Run(name, func(b *testing.B) {
			s := start(b, boxOptions{}).shell(b)
			for b.Loop() {
				spec := s.spec(1000, "true")
				_, err := s.Spawn(b.Context(), spec)
				require.NoError(b, err)
				require.Equal(b, strconv.Itoa(int(spec.Job)), strconv.Itoa(int((<-s.ended).Job)))
				require.NoError(b, s.Forget(spec.Job))
			}
		})
	}
}
