package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

func testJobEnvironment(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	root := f.root(h)
	for _, job := range []struct {
		privileged       bool
		user, path, home string
	}{
		{false, "vcap", "/bin:/usr/bin", "/home/vcap"},
		{true, "root", "/sbin:/bin:/usr/sbin:/usr/bin", "/root"},
	} {
		script := `echo "$USER" "$PATH" "${HOME#"$ROOT"}" "$(pwd)" "$0"; env -u PWD -u SHLVL -u _ -u OLDPWD | cut -d= -f1 | sort | xargs`
		res, err := f.c.Run(f.ctx, &wardenpb.RunRequest{Handle: &h, Privileged: &job.privileged, Script: &script})
		require.NoError(t, err)
		require.Zero(t, res.GetExitStatus(), res.GetStderr())
		lines := strings.Split(res.GetStdout(), "\n")
		home := filepath.Join(root, job.home)
		if !strings.Contains(lines[0], root) {
			home = job.home // a real container
		}
		assert.Equal(t, strings.Join([]string{job.user, job.path, home, home, "/bin/bash"}, " "), lines[0])
		assert.Equal(t, "HOME LANG PATH USER", lines[1])
	}
	t.Run("the script is standard input", func(t *testing.T) {
		require.Equal(t, "[next line]", f.out(h, "read line; echo \"[$line]\"\nnext line\n"))
		big := "cat > big <<'END'\n" + strings.Repeat("0123456789abcdef\n", 60000) + "END\nwc -c < big"
		require.Equal(t, strconv.Itoa(17*60000), f.out(h, big))
	})
	t.Run("no file of the server's is open", func(t *testing.T) {
		require.Equal(t, "0\n1\n2", f.out(h, "for fd in /proc/$$/fd/*; do if [ -e $fd ] && [ ${fd##*/} -lt 255 ]; then echo ${fd##*/}; fi; done"))
	})
	t.Run("signals are at their default", func(t *testing.T) {
		require.Equal(t, "0000000000000000", f.out(h, "exec sed -n 's/^SigBlk:\\t//p' /proc/self/status"))
		ignored, err := strconv.ParseUint(f.out(h, "exec sed -n 's/^SigIgn:\\t//p' /proc/self/status"), 16, 64)
		require.NoError(t, err)
		require.Zero(t, ignored&(1<<(syscall.SIGTERM-1)|1<<(syscall.SIGINT-1)|1<<(syscall.SIGPIPE-1)))
	})
}

func testJobIDs(t *testing.T, s Suite) {
	f := s.fixture(t)
	a, b := f.create(), f.create()
	var last uint32
	next := func(handle string) uint32 {
		id := f.spawn(handle, "true")
		require.Greater(t, id, last)
		last = id
		return id
	}
	first, second := next(a), next(b)
	require.Equal(t, []uint64{uint64(first)}, f.info(a).GetJobIds())
	require.Equal(t, []uint64{uint64(second)}, f.info(b).GetJobIds())
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGUSR2} {
		f.server.End(signal)
		f.server.Start()
		next(a)
	}
	for _, wrong := range []struct {
		handle string
		job    uint32
	}{{a, second}, {a, last + 1}, {a, 0}, {b, first}} {
		_, err := f.c.Link(f.ctx, &wardenpb.LinkRequest{Handle: &wrong.handle, JobId: &wrong.job})
		refused(t, err, "no such job")
		require.ErrorIs(t, err, warden.ErrNoSuchJob)
		_, err = f.c.Stream(f.ctx, &wardenpb.StreamRequest{Handle: &wrong.handle, JobId: &wrong.job}, nil)
		refused(t, err, "no such job")
	}
}

func testExitStatus(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	for script, status := range map[string]uint32{
		"true":                0,
		"":                    0,
		"exit 7":              7,
		"exit 255":            255,
		"false":               1,
		"kill -9 $$":          255,
		"kill -TERM $$":       255,
		"exec sleep x":        1,
		"nosuchcommand":       127,
		"if true; then":       2,
		"(kill -9 $BASHPID)":  137,
		"exit 3; echo unread": 3,
	} {
		assert.Equal(t, status, f.run(h, script).GetExitStatus(), script)
	}
}

func testOutput(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	res := f.run(h, "echo out; echo err >&2; printf more")
	require.Equal(t, "out\nmore", res.GetStdout())
	require.Equal(t, "err\n", res.GetStderr())
	require.NotNil(t, res.GetInfo())

	res = f.run(h, "true")
	require.NotNil(t, res.ExitStatus)
	require.NotNil(t, res.Stdout, "set when empty, too")
	require.NotNil(t, res.Stderr)
	require.Empty(t, res.GetStdout())

	require.Equal(t, "\xff\x00\xfe", f.run(h, `printf '\xff\x00\xfe'`).GetStdout())

	script := "head -c 1000000 /dev/zero; echo x >&2; exit 4"
	discarded, err := f.c.Run(f.ctx, &wardenpb.RunRequest{Handle: &h, Script: &script, DiscardOutput: proto.Bool(true), LogTag: proto.String("tag")})
	require.NoError(t, err)
	require.EqualValues(t, 4, discarded.GetExitStatus(), "discarded output has no limit")
	require.NotNil(t, discarded.Stdout)
	require.Empty(t, discarded.GetStdout()+discarded.GetStderr())
}

func testOutputLimit(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	half := OutputLimit / 2
	res := f.run(h, fmt.Sprintf("head -c %d /dev/zero; head -c %d /dev/zero >&2", half, OutputLimit-half))
	require.Zero(t, res.GetExitStatus(), "exactly the limit is fine")
	require.Len(t, res.GetStdout(), half)
	require.Len(t, res.GetStderr(), OutputLimit-half)
	require.Empty(t, res.GetInfo().GetEvents())

	job := f.spawn(h, fmt.Sprintf("head -c %d /dev/zero; head -c %d /dev/zero >&2; sleep 1000", half, OutputLimit-half+1))
	link := f.link(h, job)
	require.EqualValues(t, 255, link.GetExitStatus())
	require.Equal(t, OutputLimit, len(link.GetStdout())+len(link.GetStderr()), "the output so far")
	require.Equal(t, []string{"command exceeded maximum output"}, link.GetInfo().GetEvents())
	require.Equal(t, "active", link.GetInfo().GetState())

	// A job that floods is ended, and others go on.
	require.EqualValues(t, 255, f.run(h, "trap '' TERM; yes").GetExitStatus())
	require.Equal(t, "fine", f.out(h, "echo fine"))
	f.eventually(func() bool {
		f.server.End(syscall.SIGKILL)
		f.server.Start()
		return slices.Equal(f.info(h).GetEvents(), []string{"command exceeded maximum output"})
	}, "events are a set, and kept")
}

func testLeftBehind(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	res := f.run(h, `(echo early; while [ ! -e go ]; do sleep 0.01; done; for i in $(seq 2000); do echo "late late late late late late late late late late late"; done; echo lived > lived) &
while ! grep -q . started 2>/dev/null; do echo x > started; done; sleep 0.1; echo main`)
	require.Zero(t, res.GetExitStatus())
	require.Equal(t, "early\nmain\n", res.GetStdout(), "the answer comes when the main process ends")
	f.out(h, "touch go")
	f.eventually(func() bool { return f.run(h, "test -e lived").GetExitStatus() == 0 }, "it lives on, and is not blocked by its output")
	require.Empty(t, f.info(h).GetJobIds())
}

func testLinkOnce(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, "echo once; exit 9")
	res := f.link(h, job)
	require.EqualValues(t, 9, res.GetExitStatus())
	require.Equal(t, "once\n", res.GetStdout())
	_, err := f.c.Link(f.ctx, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
	refused(t, err, "no such job")
	_, err = f.c.Stream(f.ctx, &wardenpb.StreamRequest{Handle: &h, JobId: &job}, nil)
	refused(t, err, "no such job")

	t.Run("all that wait get it", func(t *testing.T) {
		job := f.spawn(h, "while [ ! -e go ]; do sleep 0.01; done; exit 5")
		conns := make([]*raw, 4)
		for i := range conns {
			conns[i] = f.dial()
			conns[i].send(wardenpb.Message_Link, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
		}
		f.settled(conns)
		f.out(h, "touch go")
		for _, conn := range conns {
			var res wardenpb.LinkResponse
			conn.receive(wardenpb.Message_Link, &res)
			require.EqualValues(t, 5, res.GetExitStatus())
		}
		_, err := f.c.Link(f.ctx, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
		refused(t, err, "no such job")
	})
	t.Run("of many after its end one gets it", func(t *testing.T) {
		job := f.spawn(h, "true")
		f.eventually(func() bool { return f.run(h, "true").GetExitStatus() == 0 }, "")
		var got, none int
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				_, err := f.c.Link(f.ctx, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					got++
				} else if assert.ErrorIs(t, err, warden.ErrNoSuchJob) {
					none++
				}
			})
		}
		all.Wait()
		require.GreaterOrEqual(t, got, 1)
		require.Equal(t, 6, got+none)
		require.Empty(t, f.info(h).GetJobIds())
	})
}

func testLinkClientGone(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, "while [ ! -e go ]; do sleep 0.01; done; echo kept; exit 6")
	for range 3 {
		conn := f.dial()
		conn.send(wardenpb.Message_Link, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
		f.settled([]*raw{conn})
		require.NoError(t, conn.Close())
	}
	// One goes just as the job ends, with a request behind the Link that keeps the server from seeing its end.
	conn := f.dial()
	conn.send(wardenpb.Message_Link, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
	conn.send(wardenpb.Message_Ping, &wardenpb.PingRequest{})
	f.settled([]*raw{conn})
	f.out(h, "touch go")
	require.NoError(t, conn.Close())
	if _, err := f.c.Info(f.ctx, &wardenpb.InfoRequest{Handle: &h}); err != nil {
		require.NoError(t, err)
	}

	job = f.spawn(h, "exit 6")
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	_, err := f.c.Link(ctx, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
	require.ErrorIs(t, err, context.Canceled)
	require.EqualValues(t, 6, f.link(h, job).GetExitStatus())
}

func testRunClientGone(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	conn := f.dial()
	conn.send(wardenpb.Message_Run, &wardenpb.RunRequest{
		Handle: &h, Script: proto.String("touch started; while [ ! -e go ]; do sleep 0.01; done; touch finished; exit 8"),
	})
	f.eventually(func() bool { return f.run(h, "test -e started").GetExitStatus() == 0 }, "it has started")
	require.NoError(t, conn.Close())
	f.out(h, "touch go")
	f.eventually(func() bool { return f.run(h, "test -e finished").GetExitStatus() == 0 }, "it goes on")
	jobs := f.info(h).GetJobIds()
	require.Len(t, jobs, 1, "nobody has taken its end")
	require.EqualValues(t, 8, f.link(h, uint32(jobs[0])).GetExitStatus())
}

func testStream(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, "echo before; echo err >&2; touch ready; while [ ! -e go ]; do sleep 0.01; done; echo after; exit 3")
	f.eventually(func() bool { return f.run(h, "test -e ready").GetExitStatus() == 0 }, "output is there before anybody streams")
	var out, all bytes.Buffer
	last, err := f.c.Stream(f.ctx, &wardenpb.StreamRequest{Handle: &h, JobId: &job}, func(chunk *wardenpb.StreamResponse) error {
		require.Nil(t, chunk.ExitStatus)
		require.Nil(t, chunk.Info)
		require.Contains(t, []string{"stdout", "stderr"}, chunk.GetName())
		require.NotEmpty(t, chunk.GetData())
		if chunk.GetName() == "stdout" {
			out.WriteString(chunk.GetData())
		}
		all.WriteString(chunk.GetData())
		if all.String() == "before\nerr\n" || all.String() == "err\nbefore\n" {
			f.out(h, "touch go") // what comes next is streamed as it comes
		}
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, 3, last.GetExitStatus())
	require.Nil(t, last.Name)
	require.Nil(t, last.Data)
	require.Equal(t, "active", last.GetInfo().GetState())
	require.Equal(t, "before\nafter\n", out.String())
	require.Contains(t, all.String(), "err\n")
	_, err = f.c.Link(f.ctx, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
	refused(t, err, "no such job")

	t.Run("all of a large output, in order", func(t *testing.T) {
		job := f.spawn(h, "for i in $(seq 10000); do echo $i; done")
		var got strings.Builder
		_, err := f.c.Stream(f.ctx, &wardenpb.StreamRequest{Handle: &h, JobId: &job}, func(chunk *wardenpb.StreamResponse) error {
			got.WriteString(chunk.GetData())
			return nil
		})
		require.NoError(t, err)
		var want strings.Builder
		for i := range 10000 {
			fmt.Fprintln(&want, i+1)
		}
		require.Equal(t, want.String(), got.String())
	})
	t.Run("destroy ends it", func(t *testing.T) {
		h := f.create()
		job := f.spawn(h, "echo x; sleep 1000")
		last, err := f.c.Stream(f.ctx, &wardenpb.StreamRequest{Handle: &h, JobId: &job}, func(*wardenpb.StreamResponse) error {
			f.destroy(h)
			return nil
		})
		require.NoError(t, err)
		require.EqualValues(t, 255, last.GetExitStatus())
		require.Equal(t, "active", last.GetInfo().GetState())
	})
}

func testStreamClientGone(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	job := f.spawn(h, "echo some; while [ ! -e go ]; do sleep 0.01; done; exit 2")
	enough := errors.New("enough")
	_, err := f.c.Stream(f.ctx, &wardenpb.StreamRequest{Handle: &h, JobId: &job}, func(*wardenpb.StreamResponse) error { return enough })
	require.ErrorIs(t, err, enough)
	f.out(h, "touch go")
	res := f.link(h, job)
	require.EqualValues(t, 2, res.GetExitStatus())
	require.Equal(t, "some\n", res.GetStdout())
}

func testRlimits(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	script := "ulimit -n; ulimit -c; ulimit -f; ulimit -s"
	before := f.out(h, script)
	res, err := f.c.Run(f.ctx, &wardenpb.RunRequest{Handle: &h, Script: &script, Rlimits: &wardenpb.ResourceLimits{
		Nofile: proto.Uint64(123), Core: proto.Uint64(0), Fsize: proto.Uint64(1 << 20), Stack: proto.Uint64(4 << 20),
	}})
	require.NoError(t, err)
	require.Equal(t, "123\n0\n1024\n4096\n", res.GetStdout())
	require.Equal(t, before, f.out(h, script), "they do not stick")
	res, err = f.c.Run(f.ctx, &wardenpb.RunRequest{
		Handle: &h, Script: proto.String("head -c 2000000 /dev/zero > big"), Rlimits: &wardenpb.ResourceLimits{Fsize: proto.Uint64(1 << 20)},
	})
	require.NoError(t, err)
	require.NotZero(t, res.GetExitStatus())
}

// testServerRlimits: what the request does not say is as the server's configuration has it.
func testServerRlimits(t *testing.T, s Suite) {
	config := filepath.Join(t.TempDir(), "warden.yml")
	writeFile(t, config, "server:\n  container_rlimits: {nofile: 222, core: 0}\n", 0o600)
	f := s.fixture(t, "--config", config)
	h := f.create()
	script := "ulimit -n; ulimit -c"
	require.Equal(t, "222\n0", f.out(h, script))
	res, err := f.c.Run(f.ctx, &wardenpb.RunRequest{Handle: &h, Script: &script, Rlimits: &wardenpb.ResourceLimits{Nofile: proto.Uint64(111)}})
	require.NoError(t, err)
	require.Equal(t, "111\n0\n", res.GetStdout())
	require.Equal(t, "222\n0", f.out(h, script), "it does not stick")
}
