package conformance

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

func testCreate(t *testing.T, s Suite) {
	f := s.fixture(t)
	var last string
	for range 3 {
		h := f.create()
		assert.Regexp(t, `^[0-9a-v]{11}$`, h)
		assert.Greater(t, h, last)
		last = h
	}
	named, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{Handle: proto.String("mine")})
	require.NoError(t, err)
	require.Equal(t, "mine", named.GetHandle())

	root := f.root("mine")
	assert.DirExists(t, filepath.Join(root, "home/vcap"))
	assert.NoFileExists(t, filepath.Join(root, "app"))
	tmp, err := os.Stat(filepath.Join(root, "tmp"))
	require.NoError(t, err)
	assert.Equal(t, os.ModeDir|os.ModeSticky|0o777, tmp.Mode())

	t.Run("two apps never meet", func(t *testing.T) {
		f.out(last, "echo mine > here; "+rootOf+`echo mine > "$R/tmp/here"`)
		require.NotZero(t, f.run("mine", "test -e here").GetExitStatus())
		require.NotZero(t, f.run("mine", rootOf+`test -e "$R/tmp/here"`).GetExitStatus())
	})
	t.Run("one handle, many at once: one succeeds", func(t *testing.T) {
		const many = 8
		var created, taken int
		var mu sync.Mutex
		var all sync.WaitGroup
		for range many {
			all.Go(func() {
				_, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{Handle: proto.String("race")})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					created++
				} else if assert.ErrorIs(t, err, warden.ErrHandleInUse) {
					taken++
				}
			})
		}
		all.Wait()
		require.Equal(t, 1, created)
		require.Equal(t, many-1, taken)
	})
}

func testCreateRefused(t *testing.T, s Suite) {
	f := s.fixture(t, "--pool-network", "10.254.0.0/24")
	_, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{Handle: proto.String("a b/c")})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "", 0o600)
	_, err = f.c.Create(f.ctx, &wardenpb.CreateRequest{Handle: proto.String("net"), Network: proto.String("10.254.0.8")})
	require.NoError(t, err)
	mount := func(source string) *wardenpb.CreateRequest {
		return &wardenpb.CreateRequest{BindMounts: []*wardenpb.CreateRequest_BindMount{
			{SrcPath: &source, DstPath: proto.String("/tmp/x"), Mode: wardenpb.CreateRequest_BindMount_RO.Enum()},
		}}
	}
	for message, req := range map[string]*wardenpb.CreateRequest{
		"container with handle: a b/c already exists.":            {Handle: proto.String("a b/c")},
		"rootfs /nowhere not found":                               {Rootfs: proto.String("/nowhere")},
		"rootfs " + file + " not found":                           {Rootfs: &file},
		"Could not acquire network: 10.254.0.8":                   {Network: proto.String("10.254.0.9")},
		"Could not acquire network: 192.0.2.0":                    {Network: proto.String("192.0.2.1")},
		"Could not acquire network: x":                            {Network: proto.String("x")},
		"Source path for bind mount does not exist: /nowhere/dir": mount("/nowhere/dir"),
	} {
		_, err := f.c.Create(f.ctx, req)
		refused(t, err, message)
	}
	require.Equal(t, []string{"a b/c", "net"}, f.list(), "what is refused leaves nothing")
	f.destroy("net")
	_, err = f.c.Create(f.ctx, &wardenpb.CreateRequest{Network: proto.String("10.254.0.8")})
	refused(t, err, "Could not acquire network: 10.254.0.8") // not for 5 s
	_, err = f.c.Create(f.ctx, &wardenpb.CreateRequest{Network: proto.String("10.254.0.12"), Rootfs: proto.String(cmp.Or(s.Rootfs, "/"))})
	require.NoError(t, err)
}

func testBindMounts(t *testing.T, s Suite) {
	f := s.fixture(t)
	in, out, file := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "one")
	writeFile(t, filepath.Join(in, "hello"), "from the host", 0o644)
	writeFile(t, file, "a file", 0o644)
	require.NoError(t, os.Chmod(out, 0o777))
	res, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{BindMounts: []*wardenpb.CreateRequest_BindMount{
		{SrcPath: &in, DstPath: proto.String("/tmp/dea/in"), Mode: wardenpb.CreateRequest_BindMount_RO.Enum()},
		{SrcPath: &out, DstPath: proto.String("/tmp/dea/out"), Mode: wardenpb.CreateRequest_BindMount_RW.Enum()},
		{SrcPath: &file, DstPath: proto.String("/opt/a file"), Mode: wardenpb.CreateRequest_BindMount_RO.Enum()},
	}})
	require.NoError(t, err)
	h := res.GetHandle()
	require.Equal(t, "from the host", f.out(h, rootOf+`cat "$R/tmp/dea/in/hello"`))
	require.Equal(t, "a file", f.out(h, rootOf+`cat "$R/opt/a file"`))
	f.out(h, rootOf+`echo written > "$R/tmp/dea/out/file"`)
	require.Equal(t, "written\n", readFile(t, filepath.Join(out, "file")))

	t.Run("copies go through them", func(t *testing.T) {
		to := t.TempDir()
		_, err := f.c.CopyOut(f.ctx, &wardenpb.CopyOutRequest{Handle: &h, SrcPath: proto.String("/tmp/dea/out/file"), DstPath: proto.String(to + "/")})
		require.NoError(t, err)
		require.Equal(t, "written\n", readFile(t, filepath.Join(to, "file")))
	})
	f.destroy(h)
	require.Equal(t, "from the host", readFile(t, filepath.Join(in, "hello")), "destroy leaves the sources alone")
	require.Equal(t, "written\n", readFile(t, filepath.Join(out, "file")))
}

func testHandles(t *testing.T, s Suite) {
	f := s.fixture(t)
	handles := []string{
		"", " ", ".", "..", "/", "../../x", "a/b", "a b", "ümläut", "\x00\n\xff", strings.Repeat("long", 500), "A", "a", "_x", "-",
	}
	for _, h := range handles {
		res, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{Handle: &h})
		require.NoError(t, err, "%q", h)
		require.Equal(t, h, res.GetHandle())
	}
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.ElementsMatch(t, handles, f.list())
	paths := map[string]bool{}
	for _, h := range handles {
		require.Equal(t, "x", f.out(h, "echo x"), "%q", h)
		paths[f.info(h).GetContainerPath()] = true
		f.destroy(h)
	}
	require.Len(t, paths, len(handles))
}

func testUnknownHandle(t *testing.T, s Suite) {
	f := s.fixture(t)
	h, x, n := proto.String("none"), proto.String("/tmp/x"), proto.Uint32(1)
	for name, ask := range map[string]func() error{
		"stop":    func() error { _, err := f.c.Stop(f.ctx, &wardenpb.StopRequest{Handle: h}); return err },
		"destroy": func() error { _, err := f.c.Destroy(f.ctx, &wardenpb.DestroyRequest{Handle: h}); return err },
		"info":    func() error { _, err := f.c.Info(f.ctx, &wardenpb.InfoRequest{Handle: h}); return err },
		"spawn":   func() error { _, err := f.c.Spawn(f.ctx, &wardenpb.SpawnRequest{Handle: h, Script: x}); return err },
		"link":    func() error { _, err := f.c.Link(f.ctx, &wardenpb.LinkRequest{Handle: h, JobId: n}); return err },
		"run":     func() error { _, err := f.c.Run(f.ctx, &wardenpb.RunRequest{Handle: h, Script: x}); return err },
		"stream": func() error {
			_, err := f.c.Stream(f.ctx, &wardenpb.StreamRequest{Handle: h, JobId: n}, func(*wardenpb.StreamResponse) error { return nil })
			return err
		},
		"net_in":  func() error { _, err := f.c.NetIn(f.ctx, &wardenpb.NetInRequest{Handle: h}); return err },
		"net_out": func() error { _, err := f.c.NetOut(f.ctx, &wardenpb.NetOutRequest{Handle: h, Port: n}); return err },
		"copy_in": func() error {
			_, err := f.c.CopyIn(f.ctx, &wardenpb.CopyInRequest{Handle: h, SrcPath: x, DstPath: x})
			return err
		},
		"copy_out": func() error {
			_, err := f.c.CopyOut(f.ctx, &wardenpb.CopyOutRequest{Handle: h, SrcPath: x, DstPath: x})
			return err
		},
		"limit_memory": func() error { _, err := f.c.LimitMemory(f.ctx, &wardenpb.LimitMemoryRequest{Handle: h}); return err },
		"limit_disk":   func() error { _, err := f.c.LimitDisk(f.ctx, &wardenpb.LimitDiskRequest{Handle: h}); return err },
		"limit_bandwidth": func() error {
			_, err := f.c.LimitBandwidth(f.ctx, &wardenpb.LimitBandwidthRequest{Handle: h, Rate: proto.Uint64(1), Burst: proto.Uint64(1)})
			return err
		},
		"limit_cpu": func() error { _, err := f.c.LimitCPU(f.ctx, &wardenpb.LimitCpuRequest{Handle: h}); return err },
	} {
		err := ask()
		refused(t, err, "unknown handle")
		require.ErrorIs(t, err, warden.ErrUnknownHandle, name)
	}
}

func testInfo(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	info := f.info(h)
	assert.Equal(t, "active", info.GetState())
	assert.Empty(t, info.GetEvents())
	assert.Empty(t, info.GetJobIds())
	assert.NotEmpty(t, info.GetHostIp())
	assert.NotEmpty(t, info.GetContainerIp())
	assert.DirExists(t, info.GetContainerPath())
	assert.EqualValues(t, 9223372036854771712, info.GetMemoryStat().GetHierarchicalMemoryLimit())
	b := info.GetBandwidthStat()
	for _, v := range []uint64{b.GetInRate(), b.GetInBurst(), b.GetOutRate(), b.GetOutBurst()} {
		assert.EqualValues(t, 4294967295, v)
	}
	job := f.spawn(h, "head -c 1000000 /dev/urandom > file; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 1000")
	assert.Equal(t, []uint64{uint64(job)}, f.info(h).GetJobIds())
	f.eventually(func() bool {
		info := f.info(h)
		return info.GetMemoryStat().GetTotalRss() > 100<<10 && info.GetMemoryStat().GetRss() > 100<<10 &&
			info.GetCpuStat().GetUsage() > uint64(50*time.Millisecond) && info.GetCpuStat().GetUser() > 0 &&
			info.GetDiskStat().GetBytesUsed() >= 1000000 && info.GetDiskStat().GetInodesUsed() > 1
	}, "statistics are those of the job")
	used := f.info(h).GetCpuStat().GetUsage()
	f.stop(h)
	info = f.link(h, job).GetInfo()
	assert.Equal(t, "stopped", info.GetState())
	assert.Empty(t, info.GetJobIds(), "the job that is being linked is not among them")
	assert.GreaterOrEqual(t, info.GetCpuStat().GetUsage(), used, "what ended processes used still counts")
	assert.Zero(t, info.GetMemoryStat().GetTotalRss())
}

func testGraceTime(t *testing.T, s Suite) {
	f := s.fixture(t, "--grace-time", "0")
	other := warden.NewClient(f.server.Socket())
	_, err := other.Ping(f.ctx, &wardenpb.PingRequest{})
	require.NoError(t, err)

	// Nobody but the connection that makes it knows of this one; the other connection is older.
	_, err = other.Create(f.ctx, &wardenpb.CreateRequest{Handle: proto.String("known"), GraceTime: proto.Uint32(1)})
	require.NoError(t, err)
	maker := warden.NewClient(f.server.Socket())
	for _, req := range []*wardenpb.CreateRequest{
		{Handle: proto.String("default")},
		{Handle: proto.String("one second"), GraceTime: proto.Uint32(1)},
		{Handle: proto.String("for ever"), GraceTime: proto.Uint32(1<<32 - 1)},
		{Handle: proto.String("named")},
	} {
		_, err := maker.Create(f.ctx, req)
		require.NoError(t, err)
	}
	// Being named is being referred to.
	_, err = other.Info(f.ctx, &wardenpb.InfoRequest{Handle: proto.String("named")})
	require.NoError(t, err)
	require.NoError(t, maker.Close())
	gone := func(handle string) func() bool {
		return func() bool {
			res, err := other.List(f.ctx, &wardenpb.ListRequest{})
			return assert.NoError(t, err) && !contains(res.GetHandles(), handle)
		}
	}
	start := time.Now()
	f.eventually(gone("default"), "grace time 0 is at once")
	f.eventually(gone("one second"), "grace time of its own")
	require.Greater(t, time.Since(start), 900*time.Millisecond)
	require.False(t, gone("known")())
	require.False(t, gone("named")())
	require.False(t, gone("for ever")())
	require.NoError(t, other.Close())

	// A new connection refers to all that is there, and stops the clock.
	require.Contains(t, f.list(), "for ever")
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// testGraceTimeNone: a job goes on through its container's grace time, and a new connection ends that.
func testGraceTimeNone(t *testing.T, s Suite) {
	f := s.fixture(t, "--grace-time", "2")
	h := f.create()
	job := f.spawn(h, "sleep 1000")
	require.NoError(t, f.c.Close())
	f.c = warden.NewClient(f.server.Socket())
	_, err := f.c.Ping(f.ctx, &wardenpb.PingRequest{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(f.ctx, 3*time.Second)
	defer cancel()
	_, err = f.c.Link(ctx, &wardenpb.LinkRequest{Handle: &h, JobId: &job})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, []string{h}, f.list())
}

// testSocket: nobody but the server's user connects, unless a group is named.
func testSocket(t *testing.T, s Suite) {
	own := s.fixture(t)
	info, err := os.Stat(own.server.Socket())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	group := os.Getgid()
	if os.Getuid() == 0 {
		group = 12345
	}
	shared := s.fixture(t, "--socket-group", strconv.Itoa(group))
	info, err = os.Stat(shared.server.Socket())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())
	stat, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	require.EqualValues(t, group, stat.Gid)
}

// testRootfsList: a list of layers with one that is missing is refused in the protocol's words. So is any list where
// lists are not known: that is how a client finds out.
func testRootfsList(t *testing.T, s Suite) {
	f := s.fixture(t)
	layer := openDir(t)
	stack := cmp.Or(s.Rootfs, "/")
	lists := []string{layer + ":/nowhere:" + stack, layer + ":", ":" + stack, layer + ":relative:" + stack}
	if !s.Real {
		lists = append(lists, layer+":"+stack)
	}
	for _, list := range lists {
		_, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{Rootfs: &list})
		refused(t, err, "rootfs "+list+" not found")
	}
	require.Empty(t, f.list())
}

// testInfoFields: all that the protocol has is there, on cgroup v1 and v2 alike but for what v2 does not count.
func testInfoFields(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	f.out(h, "head -c 1000000 /dev/urandom > file")
	info := f.info(h)
	notCounted := map[string]bool{"pgpgin": true, "pgpgout": true, "total_pgpgin": true, "total_pgpgout": true}
	notCounted["swap"], notCounted["total_swap"] = true, true // where the kernel does not count swap
	memory := info.GetMemoryStat().ProtoReflect()
	for i := range memory.Descriptor().Fields().Len() {
		field := memory.Descriptor().Fields().Get(i)
		assert.True(t, memory.Has(field) || notCounted[string(field.Name())], "%s", field.Name())
	}
	for _, message := range []proto.Message{info.GetCpuStat(), info.GetDiskStat(), info.GetBandwidthStat()} {
		for i := range message.ProtoReflect().Descriptor().Fields().Len() {
			field := message.ProtoReflect().Descriptor().Fields().Get(i)
			assert.True(t, message.ProtoReflect().Has(field), "%s", field.FullName())
		}
	}
}
