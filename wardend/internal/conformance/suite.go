package conformance

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// Server is one that is under test, as a process.
type Server interface {
	// Socket is where it listens, after a restart as well.
	Socket() string
	// End sends it a signal and waits for its end.
	End(signal syscall.Signal)
	// Signal sends it a signal.
	Signal(signal syscall.Signal)
	// WaitEnd waits for its end.
	WaitEnd()
	// Start starts it again, with the same depot, and returns when it answers.
	Start()
}

// Suite is the tests' view of a kind of server.
type Suite struct {
	// Start starts a server with a depot of its own and the flags, and ends it with its containers after the test.
	Start func(t testing.TB, flags ...string) Server
	// Real says that containers have a root, users, limits and a network of their own.
	Real bool
	// Rootfs is what the server's containers have for a root, and Tool is package tool as a program. Both are needed
	// for real containers alone.
	Rootfs, Tool string
}

// Settings that the suite's servers are started with.
const (
	OutputLimit = 100000
	wait        = 20 * time.Second
	tick        = 10 * time.Millisecond
)

// Run runs all of it.
func (s Suite) Run(t *testing.T) {
	all := s.common()
	if s.Real {
		maps.Copy(all, s.real())
	}
	for name, test := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// common are the tests that every kind of container passes.
func (Suite) common() map[string]func(*testing.T, Suite) {
	return map[string]func(*testing.T, Suite){
		"framing":              testFraming,
		"ruby":                 testRuby,
		"order":                testOrder,
		"simple requests":      testSimple,
		"create":               testCreate,
		"create refused":       testCreateRefused,
		"bind mounts":          testBindMounts,
		"handles":              testHandles,
		"unknown handle":       testUnknownHandle,
		"info":                 testInfo,
		"job environment":      testJobEnvironment,
		"job ids":              testJobIDs,
		"exit status":          testExitStatus,
		"output":               testOutput,
		"output limit":         testOutputLimit,
		"left behind":          testLeftBehind,
		"link once":            testLinkOnce,
		"link, client gone":    testLinkClientGone,
		"run, client gone":     testRunClientGone,
		"stream":               testStream,
		"stream, client gone":  testStreamClientGone,
		"rlimits":              testRlimits,
		"stop":                 testStop,
		"stop, stubborn":       testStopStubborn,
		"stop, kill":           testStopKill,
		"stopped":              testStopped,
		"destroy":              testDestroy,
		"destroy twice":        testDestroyTwice,
		"destroy everything":   testDestroyEverything,
		"net in":               testNetIn,
		"net in, restart":      testNetInRestart,
		"net out":              testNetOut,
		"limit memory":         testLimitMemory,
		"limit cpu":            testLimitCPU,
		"limit bandwidth":      testLimitBandwidth,
		"limit disk":           testLimitDisk,
		"copy in":              testCopyIn,
		"copy out":             testCopyOut,
		"copy refused":         testCopyRefused,
		"copy stays inside":    testCopyStaysInside,
		"grace time":           testGraceTime,
		"grace time, none":     testGraceTimeNone,
		"restart":              testRestart,
		"restart, job ended":   testRestartJobEnded,
		"killed during a job":  testKilledDuringJob,
		"killed during create": testKilledDuringCreate,
		"drain":                testDrain,
		"socket":               testSocket,
		"rootfs list":          testRootfsList,
		"rlimits, server's":    testServerRlimits,
		"net in, both ports":   testNetInBoth,
		"net out, forms":       testNetOutForms,
		"destroy during run":   testDestroyDuringRun,
	}
}

// fixture is a server with a client.
type fixture struct {
	t      testing.TB
	ctx    context.Context
	server Server
	c      *warden.Client
	// The suite's.
	rootfs, tool string
}

func (s Suite) fixture(t testing.TB, flags ...string) *fixture {
	t.Helper()
	server := s.Start(t, append([]string{"--job-output-limit", "100000"}, flags...)...)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	f := &fixture{t: t, ctx: ctx, server: server, c: warden.NewClient(server.Socket()), rootfs: s.Rootfs, tool: s.Tool}
	t.Cleanup(func() { _ = f.c.Close() })
	return f
}

// create makes a container.
func (f *fixture) create() string {
	f.t.Helper()
	res, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{})
	require.NoError(f.t, err)
	return res.GetHandle()
}

func (f *fixture) spawn(handle, script string) uint32 {
	f.t.Helper()
	res, err := f.c.Spawn(f.ctx, &wardenpb.SpawnRequest{Handle: &handle, Script: &script})
	require.NoError(f.t, err)
	return res.GetJobId()
}

func (f *fixture) run(handle, script string) *wardenpb.RunResponse {
	f.t.Helper()
	res, err := f.c.Run(f.ctx, &wardenpb.RunRequest{Handle: &handle, Script: &script})
	require.NoError(f.t, err)
	return res
}

// out runs a script that must succeed and gives its output.
func (f *fixture) out(handle, script string) string {
	f.t.Helper()
	res := f.run(handle, script)
	require.Zero(f.t, res.GetExitStatus(), "%s: %s", script, res.GetStderr())
	return strings.TrimSuffix(res.GetStdout(), "\n")
}

func (f *fixture) link(handle string, job uint32) *wardenpb.LinkResponse {
	f.t.Helper()
	res, err := f.c.Link(f.ctx, &wardenpb.LinkRequest{Handle: &handle, JobId: &job})
	require.NoError(f.t, err)
	return res
}

func (f *fixture) info(handle string) *wardenpb.InfoResponse {
	f.t.Helper()
	res, err := f.c.Info(f.ctx, &wardenpb.InfoRequest{Handle: &handle})
	require.NoError(f.t, err)
	return res
}

func (f *fixture) stop(handle string) {
	f.t.Helper()
	_, err := f.c.Stop(f.ctx, &wardenpb.StopRequest{Handle: &handle})
	require.NoError(f.t, err)
}

func (f *fixture) destroy(handle string) {
	f.t.Helper()
	_, err := f.c.Destroy(f.ctx, &wardenpb.DestroyRequest{Handle: &handle})
	require.NoError(f.t, err)
}

func (f *fixture) list() []string {
	f.t.Helper()
	res, err := f.c.List(f.ctx, &wardenpb.ListRequest{})
	require.NoError(f.t, err)
	return res.GetHandles()
}

// eventually waits until the condition holds.
func (f *fixture) eventually(condition func() bool, msg string, args ...any) {
	f.t.Helper()
	require.Eventually(f.t, condition, wait, tick, append([]any{msg}, args...)...)
}

// refused says that an error is a server's, with the words.
func refused(t testing.TB, err error, message string) {
	t.Helper()
	var answer *warden.Error
	require.ErrorAs(t, err, &answer)
	require.Equal(t, message, answer.Message)
}

// raw is a connection without a client.
type raw struct {
	t testing.TB
	*net.UnixConn
	r *warden.Reader
}

func (f *fixture) dial() *raw {
	f.t.Helper()
	nc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: f.server.Socket(), Net: "unix"})
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = nc.Close() })
	require.NoError(f.t, nc.SetDeadline(time.Now().Add(time.Minute)))
	return &raw{t: f.t, UnixConn: nc, r: warden.NewReader(nc, 0)}
}

// taken says whether the other side has read all that was sent.
func (r *raw) taken() bool {
	sc, err := r.SyscallConn()
	require.NoError(r.t, err)
	var left int
	require.NoError(r.t, sc.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) }))
	return err == nil && left == 0
}

func (r *raw) send(t wardenpb.Message_Type, m proto.Message) {
	r.t.Helper()
	require.NoError(r.t, warden.Write(r, t, m))
}

func (r *raw) receive(t wardenpb.Message_Type, m proto.Message) {
	r.t.Helper()
	answer, err := r.r.Message()
	require.NoError(r.t, err)
	require.Equal(r.t, t, answer.GetType(), "%q", answer.GetPayload())
	require.NoError(r.t, proto.Unmarshal(answer.GetPayload(), m))
}

// receiveError gives an Error's message.
func (r *raw) receiveError() string {
	r.t.Helper()
	var m wardenpb.ErrorResponse
	r.receive(wardenpb.Message_Error, &m)
	return m.GetMessage()
}

// root is the container's root directory as the host sees it: container_path itself, or tmp/rootfs in it, as the
// original had it.
func (f *fixture) root(handle string) string {
	f.t.Helper()
	path := f.info(handle).GetContainerPath()
	if root := filepath.Join(path, "tmp/rootfs"); exists(filepath.Join(root, "home")) {
		return root
	}
	return path
}

// number is what a script says that says a number.
func (f *fixture) number(handle, script string) int {
	f.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(f.out(handle, script)))
	require.NoError(f.t, err)
	return n
}

// hostPID is the host's number of a process whose number in the container is known.
func (f *fixture) hostPID(handle string, pid int) int {
	f.t.Helper()
	namespace := f.out(handle, "readlink /proc/self/ns/pid")
	all, err := filepath.Glob("/proc/[0-9]*/status")
	require.NoError(f.t, err)
	for _, path := range all {
		dir := filepath.Dir(path)
		if link, err := os.Readlink(filepath.Join(dir, "ns/pid")); err != nil || link != namespace {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(raw)) {
			if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok && strings.HasSuffix(strings.TrimSpace(numbers), fmt.Sprintf("\t%d", pid)) ||
				ok && strings.TrimSpace(numbers) == strconv.Itoa(pid) {
				host, err := strconv.Atoi(filepath.Base(dir))
				require.NoError(f.t, err)
				return host
			}
		}
	}
	require.Fail(f.t, "there is no such process", "%d in %s", pid, namespace)
	return 0
}

// rootOf is where the container's root directory is for its jobs: they are told by HOME.
const rootOf = `R="${HOME%/home/vcap}"; `

func readFile(t testing.TB, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(raw)
}

func writeFile(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), mode))
	require.NoError(t, os.Chmod(path, mode))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
