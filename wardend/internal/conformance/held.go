package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// hold puts a process of the host's into the cgroups of a job, so that the kernel does not let them go, and answers
// how to let go of them.
func (f *fixture) hold(h string) (release func()) {
	f.t.Helper()
	f.spawn(h, "echo $$ > pid; exec sleep 1000")
	f.eventually(func() bool { return f.run(h, "test -s pid").GetExitStatus() == 0 }, "the job runs")
	job := f.hostPID(h, f.number(h, "cat pid"))
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(f.t, cmd.Start())
	release = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	f.t.Cleanup(release)
	held := 0
	for line := range strings.Lines(readFile(f.t, "/proc/"+strconv.Itoa(job)+"/cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if !strings.Contains(parts[2], "wardend-") {
			continue
		}
		for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/" + strings.Split(parts[1], ",")[0]} {
			procs := filepath.Join(hierarchy, parts[2], "cgroup.procs")
			if os.WriteFile(procs, []byte(strconv.Itoa(cmd.Process.Pid)), 0) == nil { //nolint:gosec // no mode: it is there
				held++
			}
		}
	}
	require.NotZero(f.t, held, "the process is in the job's cgroup")
	return release
}

// testDestroyHeld: what the kernel does not let go stays listed, says why, and goes when it can.
func testDestroyHeld(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	release := f.hold(h)
	_, err := f.c.Destroy(f.ctx, &wardenpb.DestroyRequest{Handle: &h})
	require.Error(t, err, "it is told so")
	require.ErrorContains(t, err, "sleep", "who holds it is named")
	require.Equal(t, []string{h}, f.list())
	info := f.info(h)
	require.Equal(t, "stopped", info.GetState())
	require.Len(t, info.GetEvents(), 1)
	require.Contains(t, info.GetEvents()[0], "container cannot be destroyed: ")
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.Equal(t, []string{h}, f.list(), "the next server tries as well")
	require.Contains(t, f.info(h).GetEvents()[0], "container cannot be destroyed: ")
	release()
	f.eventually(func() bool { return len(f.list()) == 0 }, "it is tried again until it is gone")
}

// testFrozen: a job that stops every process that it may keeps nobody else from the container.
func testFrozen(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	f.spawn(h, "while :; do kill -STOP -1; done")
	for range 6 {
		f.spawn(h, "true")
	}
	require.Equal(t, "root\n", f.privileged(h, "id -un").GetStdout())
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	info := f.info(h)
	require.Equal(t, "active", info.GetState())
	require.Equal(t, "root\n", f.privileged(h, "id -un").GetStdout())
	_, err := f.c.Stop(f.ctx, &wardenpb.StopRequest{Handle: &h, Kill: proto.Bool(true)})
	require.NoError(t, err)
	for _, job := range info.GetJobIds() {
		f.link(h, uint32(job)) //nolint:gosec // an id
	}
	f.destroy(h)
}
