package initproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

func TestMain(m *testing.M) {
	if len(os.Args) >= 2 && os.Args[1] == commandName {
		os.Exit(Main(os.Args[2:]...))
	}
	if len(os.Args) >= 3 && os.Args[1] == enterCommand {
		fmt.Fprintln(os.Stderr, enter(os.Args[2], os.Args[3:]))
		os.Exit(1)
	}
	if len(os.Args) == 3 && os.Args[1] == attackCommand {
		attack(os.Args[2])
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == stormCommand {
		storm()
	}
	if len(os.Args) == 2 && os.Args[1] == threadsCommand {
		tellThreads()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const (
	wait = 20 * time.Second
	tick = 5 * time.Millisecond
)

// startInit starts a real init, which is ended after the test.
func startInit(t *testing.T) (dir string) {
	t.Helper()
	// Longer than a socket's path may be.
	dir = filepath.Join(t.TempDir(), strings.Repeat("long", 40), "init")
	require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o700))
	require.NoError(t, Start(dir, []string{"/proc/self/exe", "init"}))
	t.Cleanup(func() { require.NoError(t, Kill(dir)) })
	return dir
}

func connect(t *testing.T, dir string, events Events) *Client {
	t.Helper()
	c, err := Connect(t.Context(), dir, events)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func script(job uint32, text string) *SpawnSpec {
	return &SpawnSpec{Job: job, Args: []string{"/bin/bash"}, Stdin: []byte(text), Env: []string{"PATH=/bin:/usr/bin"}, Dir: "/", OutputLimit: 1000}
}

func spawn(t *testing.T, c *Client, spec *SpawnSpec) {
	t.Helper()
	lowered, err := c.Spawn(t.Context(), spec)
	require.NoError(t, err)
	require.Empty(t, lowered)
}

func jobs(t *testing.T, c *Client) map[uint32]JobStatus {
	t.Helper()
	list, err := c.Jobs(t.Context())
	require.NoError(t, err)
	all := map[uint32]JobStatus{}
	for _, j := range list {
		all[j.Job] = j
	}
	return all
}

func TestEveryClientIsToldOfTheEnd(t *testing.T) {
	dir := startInit(t)
	first, second := make(chan JobStatus, 1), make(chan JobStatus, 1)
	a := connect(t, dir, Events{Ended: func(s JobStatus) { first <- s }})
	connect(t, dir, Events{Ended: func(s JobStatus) { second <- s }})
	spawn(t, a, script(7, "echo out; echo err >&2; exit 5"))
	for _, told := range []chan JobStatus{first, second} {
		status := <-told
		require.Equal(t, uint32(7), status.Job)
		require.True(t, status.Ended)
		require.EqualValues(t, 5, status.ExitStatus)
	}
	stdout, stderr, err := ReadOutputUpTo(dir, 7, 1<<20)
	require.NoError(t, err)
	require.Equal(t, "out\n", string(stdout))
	require.Equal(t, "err\n", string(stderr))
	require.NoError(t, a.Forget(7))
	require.Empty(t, jobs(t, a))
	entries, err := os.ReadDir(filepath.Join(dir, jobsName))
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is left of a job that is forgotten")
}

func TestALaterClientFindsAll(t *testing.T) {
	dir := startInit(t)
	a := connect(t, dir, Events{})
	spawn(t, a, script(1, "exit 3"))
	spawn(t, a, script(2, "sleep 1000"))
	require.Eventually(t, func() bool { return jobs(t, a)[1].Ended }, wait, tick)
	a.Close()
	b := connect(t, dir, Events{})
	require.Equal(t, a.PID(), b.PID())
	require.EqualValues(t, 3, jobs(t, b)[1].ExitStatus)
	require.False(t, jobs(t, b)[2].Ended)
	_, err := b.Spawn(t.Context(), script(2, ""))
	require.ErrorContains(t, err, "job 2 exists already")
}

func TestSpawnRefused(t *testing.T) {
	c := connect(t, startInit(t), Events{})
	for _, spec := range []*SpawnSpec{
		{Job: 1}, {Job: 1, Args: []string{"/no/such/program"}, Dir: "/"}, {Job: 1, Args: []string{"/bin/bash"}, Dir: "/no/such/dir"},
	} {
		_, err := c.Spawn(t.Context(), spec)
		require.Error(t, err)
	}
	require.Empty(t, jobs(t, c))
	spawn(t, c, script(1, "true"))
}

func TestAnOlderInitSaysWhatItDoesNotKnow(t *testing.T) {
	c := connect(t, startInit(t), Events{})
	_, err := c.ask(t.Context(), request{Op: "from the future"})
	require.EqualError(t, err, `unknown operation "from the future"`)
	require.Empty(t, jobs(t, c), "and goes on")
}

func TestANewerInitIsRefused(t *testing.T) {
	dir := t.TempDir()
	var listener *net.UnixListener
	require.NoError(t, withShortPath(dir, func(path string) (err error) {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	}))
	served := make(chan struct{})
	go func() {
		defer close(served)
		for _, hello := range []string{`{"hello":{"version":99,"pid":1}}`, `{}`, "garbage", ""} {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(hello + "\n"))
			_ = conn.Close()
		}
	}()
	for range 2 {
		_, err := Connect(t.Context(), dir, Events{})
		require.ErrorContains(t, err, "speaks a version that this wardend does not know")
		require.NotErrorIs(t, err, ErrLost)
	}
	for range 2 {
		_, err := Connect(t.Context(), dir, Events{})
		require.ErrorIs(t, err, ErrLost)
	}
	<-served
	require.NoError(t, listener.Close())
	_, err := Connect(t.Context(), dir, Events{})
	require.ErrorIs(t, err, ErrLost)
}

func TestInitThatCannotStartSaysWhy(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Start(dir, []string{"/bin/sh", "-c", "echo words >&2"}))
	_, err := Connect(t.Context(), dir, Events{})
	require.ErrorIs(t, err, ErrLost)
	require.Eventually(t, func() bool {
		_, err := Connect(t.Context(), dir, Events{})
		return err != nil
	}, wait, tick)
	require.Error(t, Start(t.TempDir(), []string{"/no/such/program"}))
}

func TestLost(t *testing.T) {
	dir := startInit(t)
	lost := make(chan error, 1)
	c := connect(t, dir, Events{Lost: func(err error) { lost <- err }})
	ended := make(chan error, 1)
	spawn(t, c, script(1, "exit 4"))
	spawn(t, c, script(2, "sleep 1000"))
	require.Eventually(t, func() bool { return jobs(t, c)[1].Ended }, wait, tick)
	pid := jobs(t, c)[2].PID
	go func() { ended <- c.Stop(context.Background(), false, time.Hour) }()
	halt(t, c.PID()) // An init that hangs.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Jobs(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, Kill(dir))
	require.ErrorIs(t, <-lost, ErrLost)
	if err := <-ended; err != nil {
		require.ErrorIs(t, err, ErrLost)
	}
	require.True(t, gone(pid), "Kill ends what is beneath an init that hangs")
	_, err = c.Jobs(t.Context())
	require.ErrorIs(t, err, ErrLost)

	found, err := ReadJobs(dir)
	require.NoError(t, err)
	statuses := map[uint32]uint32{}
	for _, j := range found {
		require.True(t, j.Ended)
		statuses[j.Job] = j.ExitStatus
	}
	require.Equal(t, map[uint32]uint32{1: 4, 2: ExitKilled}, statuses)
	require.NoError(t, Kill(dir), "again")
	require.NoError(t, Kill(t.TempDir()), "where there never was one")
}

// gone says whether a process has ended; nobody may have reaped it yet.
func gone(pid int) bool {
	stat, err := proctree.Read(pid)
	return errors.Is(err, proctree.ErrGone) || stat.State == 'Z'
}

func TestEndsWhenItsStateIsRemoved(t *testing.T) {
	dir := startInit(t)
	lost := make(chan error, 1)
	c := connect(t, dir, Events{Lost: func(err error) { lost <- err }})
	spawn(t, c, script(1, "trap '' TERM; sleep 1000"))
	pid := jobs(t, c)[1].PID
	require.NoError(t, os.RemoveAll(dir))
	require.ErrorIs(t, <-lost, ErrLost)
	require.True(t, gone(pid), "a depot that is deleted leaves no process behind")
}

// TestNoJobOutlivesAShutdown: another connection may ask for jobs until the very end.
func TestNoJobOutlivesAShutdown(t *testing.T) {
	dir := startInit(t)
	a, b := connect(t, dir, Events{}), connect(t, dir, Events{})
	started, refused := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := uint32(1); ; n++ {
			if _, err := a.Spawn(context.Background(), script(n, "sleep 1000")); err != nil {
				refused <- err
				return
			}
			if n == 3 {
				close(started)
			}
		}
	}()
	<-started
	require.NoError(t, b.Shutdown(t.Context()))
	require.Error(t, <-refused)
	files, err := filepath.Glob(filepath.Join(dir, jobsName, "*.job"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 3)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var status JobStatus
		require.NoError(t, json.Unmarshal(raw, &status))
		require.True(t, gone(status.PID), "job %d", status.Job)
	}
}

// TestEndsWhatForksForEver: the main process is gone, and no process lives long enough to be found and ended by itself.
func TestEndsWhatForksForEver(t *testing.T) {
	c := connect(t, startInit(t), Events{})
	spawn(t, c, script(1, "end=$((SECONDS+15)); next() { [ $SECONDS -lt $end ] && { next & }; }; next; next; next; exit 0"))
	require.Eventually(t, func() bool { return jobs(t, c)[1].Ended }, wait, tick)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, c.Stop(ctx, true, 0))
}

func TestConnectThatIsGivenUp(t *testing.T) {
	dir := startInit(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Connect(ctx, dir, Events{})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrLost, "that nobody waited says nothing about the init")
	_, err = Connect(ctx, t.TempDir(), Events{})
	require.NotErrorIs(t, err, ErrLost)
	_, err = Connect(t.Context(), t.TempDir(), Events{})
	require.ErrorIs(t, err, ErrLost)
	_, err = Connect(t.Context(), filepath.Join(dir, "no", "dir"), Events{})
	require.ErrorIs(t, err, ErrLost)
}

// TestConnectToOneThatSaysNothing: giving up while it is greeted is no loss either.
func TestConnectToOneThatSaysNothing(t *testing.T) {
	dir := startInit(t)
	c := connect(t, dir, Events{})
	halt(t, c.PID())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Connect(ctx, dir, Events{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, ErrLost)
	require.NoError(t, unix.Kill(c.PID(), unix.SIGCONT))
	spawn(t, c, script(1, "true"))
}

// halt stops a process, and returns when every thread of it has stopped: not all hear the signal at once.
func halt(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	require.Eventually(t, func() bool { return halted(t, pid) }, wait, tick)
}

func halted(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	require.NoError(t, err)
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil {
			return false
		}
		if _, after, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(after, "T") {
			return false
		}
	}
	return len(threads) > 0
}

func TestShutdown(t *testing.T) {
	c := connect(t, startInit(t), Events{Lost: func(error) { t.Error("shutting down is not losing") }})
	spawn(t, c, script(1, "(setsid sleep 1000 &); trap '' TERM; sleep 1000"))
	require.NoError(t, c.Shutdown(t.Context()))
	require.Eventually(t, func() bool { return gone(c.PID()) }, wait, tick)
}

func TestRlimitsThatCannotBeRaised(t *testing.T) {
	c := connect(t, startInit(t), Events{})
	spec := script(1, "ulimit -n")
	spec.Rlimits = []Rlimit{{Name: "nofile", Resource: unix.RLIMIT_NOFILE, Value: 1 << 40}} // more than the kernel has
	lowered, err := c.Spawn(t.Context(), spec)
	require.NoError(t, err)
	require.Equal(t, []string{"nofile"}, lowered)
}

func TestForwardTwice(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	taken := l.Addr().String()
	c := connect(t, startInit(t), Events{})
	require.ErrorContains(t, c.Forward(t.Context(), ForwardSpec{Listen: taken, Target: taken}), "address already in use")
	require.NoError(t, l.Close())
	for range 2 {
		require.NoError(t, c.Forward(t.Context(), ForwardSpec{Listen: taken, Target: "127.0.0.1:1"}))
	}
	conn, err := net.Dial("tcp", taken)
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "nobody listens behind it")
	require.NoError(t, conn.Close())
}

func TestOutputReaderStopsAtDamage(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, jobsName), 0o700))
	good := appendRecord(nil, Stderr, []byte("fine"))
	for name, c := range map[string]struct {
		raw  []byte
		fail bool
	}{
		"half a header": {slices.Concat(good, []byte{1, 0}), false},
		"half a record": {slices.Concat(good, []byte{1, 0, 0, 0, 9, 'x'}), false},
		"absurd length": {slices.Concat(good, []byte{1, 0xff, 0xff, 0xff, 0xff}), true},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, jobsName, jobFile(1, kindOut)), c.raw, 0o600))
		_, stderr, err := ReadOutputUpTo(dir, 1, 1<<20)
		if c.fail {
			require.ErrorContains(t, err, "damaged", name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, "fine", string(stderr))
	}
}

// FuzzOutput: whatever is in an output file, reading it ends, without more memory than the file has bytes.
func FuzzOutput(f *testing.F) {
	f.Add(appendRecord(appendRecord(nil, Stdout, []byte("a")), Stderr, []byte("b")))
	f.Add([]byte{1, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, jobsName), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, jobsName, jobFile(1, kindOut)), raw, 0o600))
		stdout, stderr, err := ReadOutputUpTo(dir, 1, 1<<20)
		if err == nil {
			require.LessOrEqual(t, len(stdout)+len(stderr), len(raw))
		}
	})
}

// BenchmarkSpawn is a job's whole life without a server in between.
func BenchmarkSpawn(b *testing.B) {
	dir := b.TempDir()
	require.NoError(b, Start(dir, []string{"/proc/self/exe", "init"}))
	ended := make(chan JobStatus, 1)
	c, err := Connect(b.Context(), dir, Events{Ended: func(s JobStatus) { ended <- s }})
	require.NoError(b, err)
	n := uint32(0)
	for b.Loop() {
		n++
		_, err := c.Spawn(b.Context(), script(n, "true"))
		require.NoError(b, err)
		require.Equal(b, strconv.Itoa(int(n)), strconv.Itoa(int((<-ended).Job)))
		require.NoError(b, c.Forget(n))
	}
	require.NoError(b, c.Shutdown(context.Background()))
	c.Close()
}
