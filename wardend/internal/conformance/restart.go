package conformance

import (
	"fmt"
	"io"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

func testRestart(t *testing.T, s Suite) {
	f := s.fixture(t)
	handles := []string{f.create(), f.create(), f.create()}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2} {
		f.server.End(signal)
		_, err := f.c.Ping(f.ctx, &wardenpb.PingRequest{})
		require.ErrorIs(t, err, warden.ErrUnavailable)
		f.server.Start()
		require.Equal(t, handles, f.list(), "the same client goes on")
		for _, h := range handles {
			require.Equal(t, "fine", f.out(h, "echo fine"))
		}
	}
	for _, h := range handles {
		f.destroy(h)
	}
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.Empty(t, f.list())
}

// testRestartJobEnded: jobs that end while no server is there are linked with their true status.
func testRestartJobEnded(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	before := f.spawn(h, "echo before; touch ended; exit 41")
	root := f.root(h)
	f.eventually(func() bool { return f.run(h, "test -e ended").GetExitStatus() == 0 }, "it has ended")
	meanwhile := f.spawn(h, `while [ ! -e go ]; do sleep 0.01; done; echo meanwhile; echo done > done; exit 42`)
	after := f.spawn(h, `while [ ! -e later ]; do sleep 0.01; done; exit 43`)
	f.server.End(syscall.SIGKILL)
	writeFile(t, root+"/home/vcap/go", "", 0o644)
	f.eventually(func() bool { return exists(root + "/home/vcap/done") }, "a job goes on without a server")
	f.server.Start()
	require.Equal(t, []uint64{uint64(before), uint64(meanwhile), uint64(after)}, f.info(h).GetJobIds())
	require.EqualValues(t, 41, f.link(h, before).GetExitStatus())
	res := f.link(h, meanwhile)
	require.EqualValues(t, 42, res.GetExitStatus())
	require.Equal(t, "meanwhile\n", res.GetStdout())
	f.out(h, "touch later")
	require.EqualValues(t, 43, f.link(h, after).GetExitStatus())
	_, err := f.c.Link(f.ctx, &wardenpb.LinkRequest{Handle: &h, JobId: &before})
	refused(t, err, "no such job")
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.Empty(t, f.info(h).GetJobIds(), "what was taken stays taken")
}

// testKilledDuringJob: kill -9 of the server while clients wait for a job costs the job nothing.
func testKilledDuringJob(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, `echo $$ > pid; for i in $(seq 200); do echo $i; sleep 0.02; done; exit 9`)
	f.eventually(func() bool { return f.run(h, "test -s pid").GetExitStatus() == 0 }, "the job runs")
	inside := f.number(h, "cat pid")
	host := f.hostPID(h, inside)
	for range 3 {
		linked := make(chan error, 1)
		go func() {
			_, err := f.c.Link(f.ctx, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
			linked <- err
		}()
		f.out(h, "true")
		f.server.End(syscall.SIGKILL)
		require.ErrorIs(t, <-linked, warden.ErrUnavailable)
		f.server.Start()
		require.Equal(t, host, f.hostPID(h, inside), "the same process is still there")
	}
	var out string
	last, err := f.c.Stream(f.ctx, &wardenpb.StreamRequest{Handle: &h, JobId: &job}, func(chunk *wardenpb.StreamResponse) error {
		out += chunk.GetData()
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, 9, last.GetExitStatus())
	var want string
	for i := range 200 {
		want += fmt.Sprintln(i + 1)
	}
	require.Equal(t, want, out, "its output is whole")
}

// testKilledDuringCreate: what was half made or half destroyed is not there after a restart.
func testKilledDuringCreate(t *testing.T, s Suite) {
	f := s.fixture(t)
	kept := f.create()
	for i := range 5 {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				res, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{})
				if err != nil {
					return
				}
				if _, err := f.c.Destroy(f.ctx, &wardenpb.DestroyRequest{Handle: res.Handle}); err != nil {
					return
				}
			}
		}()
		f.out(kept, fmt.Sprintf("sleep 0.1%d", i))
		f.server.End(syscall.SIGKILL)
		<-ended
		f.server.Start()
		handles := f.list()
		require.Contains(t, handles, kept)
		require.LessOrEqual(t, len(handles), 2)
		for _, h := range handles {
			require.Equal(t, "usable", f.out(h, "echo usable"))
			if h != kept {
				f.destroy(h)
			}
		}
	}
}

func testDrain(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, "echo x; while [ ! -e go ]; do sleep 0.01; done; exit 12")
	waiting := make([]*raw, 3)
	for i := range waiting {
		waiting[i] = f.dial()
	}
	waiting[0].send(wardenpb.Message_Link, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
	waiting[1].send(wardenpb.Message_Stream, &wardenpb.StreamRequest{Handle: &h, JobId: &job})
	waiting[2].send(wardenpb.Message_Run, &wardenpb.RunRequest{
		Handle: &h, Script: proto.String("touch run; while [ ! -e go ]; do sleep 0.01; done; exit 13"),
	})
	var chunk wardenpb.StreamResponse
	waiting[1].receive(wardenpb.Message_Stream, &chunk)
	require.Equal(t, "x\n", chunk.GetData())
	f.eventually(func() bool { return f.run(h, "test -e run").GetExitStatus() == 0 }, "run has started")
	f.settled(waiting)
	idle := f.dial()
	idle.send(wardenpb.Message_Ping, &wardenpb.PingRequest{})
	idle.receive(wardenpb.Message_Ping, &wardenpb.PingResponse{})

	f.server.Signal(syscall.SIGUSR2)
	for _, conn := range slices.Concat(waiting, []*raw{idle}) {
		_, err := conn.r.Message()
		require.ErrorIs(t, err, io.EOF, "closed without an answer")
	}
	f.server.WaitEnd()
	f.server.Start()
	jobs := f.info(h).GetJobIds()
	require.Len(t, jobs, 2, "nothing was taken")
	run := uint32(jobs[slices.IndexFunc(jobs, func(id uint64) bool { return id != uint64(job) })])
	f.out(h, "touch go")
	require.EqualValues(t, 12, f.link(h, job).GetExitStatus())
	require.EqualValues(t, 13, f.link(h, run).GetExitStatus())

	t.Run("a request that does not only wait ends", func(t *testing.T) {
		h := f.create()
		f.spawn(h, "trap '' TERM; touch ready; while :; do sleep 0.05; done")
		f.eventually(func() bool { return f.run(h, "test -e ready").GetExitStatus() == 0 }, "job has started")
		conn := f.dial()
		conn.send(wardenpb.Message_Destroy, &wardenpb.DestroyRequest{Handle: &h})
		f.settled([]*raw{conn})
		f.server.Signal(syscall.SIGUSR2)
		conn.receive(wardenpb.Message_Destroy, &wardenpb.DestroyResponse{})
		start := time.Now()
		f.server.WaitEnd()
		assert.Less(t, time.Since(start), 10*time.Second)
		f.server.Start()
		require.NotContains(t, f.list(), h)
	})
}
