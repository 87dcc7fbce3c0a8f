package conformance

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

func testStop(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, "trap 'echo asked; exit 7' TERM; echo ready > ready; while :; do sleep 0.05; done")
	f.eventually(func() bool { return f.run(h, "test -e ready").GetExitStatus() == 0 }, "job has started")
	start := time.Now()
	f.stop(h)
	require.Less(t, time.Since(start), 9*time.Second)
	res := f.link(h, job)
	require.EqualValues(t, 7, res.GetExitStatus())
	require.Equal(t, "asked\n", res.GetStdout())
	require.Equal(t, "stopped", res.GetInfo().GetState())
	f.stop(h)
}

func testStopStubborn(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, "trap '' TERM; touch ready; while :; do sleep 0.05; done")
	f.eventually(func() bool { return f.run(h, "test -e ready").GetExitStatus() == 0 }, "job has started")
	start := time.Now()
	_, err := f.c.Stop(f.ctx, &wardenpb.StopRequest{Handle: &h, Background: proto.Bool(true)})
	require.NoError(t, err)
	require.Less(t, time.Since(start), 3*time.Second, "background answers at once")
	require.Equal(t, "stopped", f.info(h).GetState(), "stopped at once")
	f.stop(h)
	require.Less(t, time.Since(start), 5*time.Second, "a second stop answers at once")
	// The server may be killed meanwhile: KILL comes all the same.
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.EqualValues(t, 255, f.link(h, job).GetExitStatus())
	require.InDelta(t, 10, time.Since(start).Seconds(), 4, "KILL comes after 10 s")
}

func testStopKill(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, "trap '' TERM; (trap '' TERM; setsid sleep 1000 & echo $!) > pid; touch ready; while :; do sleep 0.05; done")
	f.eventually(func() bool { return f.run(h, "test -e ready").GetExitStatus() == 0 }, "job has started")
	pid := f.hostPID(h, f.number(h, "cat pid"))
	start := time.Now()
	_, err := f.c.Stop(f.ctx, &wardenpb.StopRequest{Handle: &h, Kill: proto.Bool(true)})
	require.NoError(t, err)
	require.Less(t, time.Since(start), 8*time.Second)
	require.EqualValues(t, 255, f.link(h, job).GetExitStatus())
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "processes of other sessions are ended too")
}

func testStopped(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, "echo out")
	f.out(h, "echo content > file")
	f.stop(h)
	wrong := "Container state must be one of 'active', current state is 'stopped'"
	x := proto.String("/tmp/x")
	for name, ask := range map[string]func() error{
		"spawn":  func() error { _, err := f.c.Spawn(f.ctx, &wardenpb.SpawnRequest{Handle: &h, Script: x}); return err },
		"run":    func() error { _, err := f.c.Run(f.ctx, &wardenpb.RunRequest{Handle: &h, Script: x}); return err },
		"net_in": func() error { _, err := f.c.NetIn(f.ctx, &wardenpb.NetInRequest{Handle: &h}); return err },
		"net_out": func() error {
			_, err := f.c.NetOut(f.ctx, &wardenpb.NetOutRequest{Handle: &h, Port: proto.Uint32(1)})
			return err
		},
		"copy_in": func() error {
			_, err := f.c.CopyIn(f.ctx, &wardenpb.CopyInRequest{Handle: &h, SrcPath: x, DstPath: x})
			return err
		},
	} {
		err := ask()
		refused(t, err, wrong)
		require.ErrorIs(t, err, warden.ErrWrongState, name)
	}
	require.Equal(t, "stopped", f.info(h).GetState())
	require.Equal(t, "out\n", f.link(h, job).GetStdout())
	to := t.TempDir()
	_, err := f.c.CopyOut(f.ctx, &wardenpb.CopyOutRequest{Handle: &h, SrcPath: proto.String("/home/vcap/file"), DstPath: proto.String(to + "/")})
	require.NoError(t, err)
	require.Equal(t, "content\n", readFile(t, filepath.Join(to, "file")))
	_, err = f.c.LimitMemory(f.ctx, &wardenpb.LimitMemoryRequest{Handle: &h, LimitInBytes: proto.Uint64(1 << 20)})
	require.NoError(t, err)
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.Equal(t, "stopped", f.info(h).GetState())
	f.destroy(h)
}

func testDestroy(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, "trap '' TERM; sleep 1000")
	const waiting = 3
	answers := make(chan *wardenpb.LinkResponse, waiting)
	conns := make([]*raw, waiting)
	for i := range conns {
		conns[i] = f.dial()
		conns[i].send(wardenpb.Message_Ping, &wardenpb.PingRequest{})
		conns[i].receive(wardenpb.Message_Ping, &wardenpb.PingResponse{})
		conns[i].send(wardenpb.Message_Link, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
		go func() {
			var res wardenpb.LinkResponse
			if m, err := conns[i].r.Message(); assert.NoError(t, err) && assert.NoError(t, proto.Unmarshal(m.GetPayload(), &res)) {
				answers <- &res
			}
		}()
	}
	root := f.info(h).GetContainerPath()
	f.settled(conns)
	f.destroy(h)
	for range waiting {
		res := <-answers
		require.EqualValues(t, 255, res.GetExitStatus())
		require.NotNil(t, res.Stdout)
		require.NotNil(t, res.Stderr)
		require.Equal(t, "active", res.GetInfo().GetState())
		require.Equal(t, root, res.GetInfo().GetContainerPath())
	}
	require.NoDirExists(t, root)
	require.Empty(t, f.list())
	_, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{Handle: &h})
	require.NoError(t, err, "the handle is free again")
	_, err = f.c.Link(f.ctx, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
	refused(t, err, "no such job")
}

// settled returns when the server has read what the connections sent, and had time to answer others since.
func (f *fixture) settled(conns []*raw) {
	f.t.Helper()
	for _, conn := range conns {
		f.eventually(conn.taken, "the server reads the request")
	}
	for range 50 {
		_, err := f.c.Ping(f.ctx, &wardenpb.PingRequest{})
		require.NoError(f.t, err)
	}
}

func testDestroyTwice(t *testing.T, s Suite) {
	f := s.fixture(t)
	for range 5 {
		h := f.create()
		f.spawn(h, "sleep 1000")
		const many = 4
		errs := make(chan error, many)
		for range many {
			go func() {
				_, err := f.c.Destroy(f.ctx, &wardenpb.DestroyRequest{Handle: &h})
				errs <- err
			}()
		}
		succeeded := 0
		for range many {
			if err := <-errs; err == nil {
				succeeded++
			} else {
				refused(t, err, "unknown handle")
			}
		}
		require.Equal(t, 1, succeeded)
	}
}

// testDestroyEverything: no process and no file is left, however they were hidden.
func testDestroyEverything(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	f.out(h, `
(setsid bash -c 'trap "" TERM HUP; echo $$ > one; cd /; exec sleep 1000' &)
(env -i setsid /bin/sh -c 'echo $$ > two; exec sleep 1001' &)
mkdir -p locked/inner; touch locked/inner/file; chmod 500 locked/inner locked; ln -s /etc link
while [ ! -s one ] || [ ! -s two ]; do sleep 0.01; done`)
	var pids []int
	for _, name := range []string{"one", "two"} {
		pid := f.hostPID(h, f.number(h, "cat "+name))
		require.NoError(t, syscall.Kill(pid, 0))
		pids = append(pids, pid)
	}
	root := f.info(h).GetContainerPath()
	f.destroy(h)
	for _, pid := range pids {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	}
	require.NoDirExists(t, root)
	require.FileExists(t, "/etc/passwd")
}

// testDestroyDuringRun: who waits in Run gets its end, too.
func testDestroyDuringRun(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	conn := f.dial()
	conn.send(wardenpb.Message_Run, &wardenpb.RunRequest{Handle: &h, Script: proto.String("echo x; touch started; sleep 1000")})
	f.eventually(func() bool { return f.run(h, "test -e started").GetExitStatus() == 0 }, "it has started")
	f.destroy(h)
	var res wardenpb.RunResponse
	conn.receive(wardenpb.Message_Run, &res)
	require.EqualValues(t, 255, res.GetExitStatus())
	require.NotNil(t, res.Stdout)
	require.NotNil(t, res.Stderr)
	require.Equal(t, "active", res.GetInfo().GetState())
}
