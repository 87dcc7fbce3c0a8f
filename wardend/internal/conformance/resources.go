package conformance

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// freePort is a port that nobody listens on, outside of any pool of the tests.
func freePort(t testing.TB) uint32 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	addr, ok := l.Addr().(*net.TCPAddr)
	require.True(t, ok)
	return uint32(addr.Port)
}

// portPool is a pool of three ports that nobody else uses.
func portPool(t testing.TB) (start uint32, flag string) {
	t.Helper()
	for {
		start := freePort(t)
		free := start < 65000
		for i := uint32(1); free && i < 3; i++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", start+i))
			if free = err == nil; free {
				require.NoError(t, l.Close())
			}
		}
		if free {
			return start, fmt.Sprintf("%d:3", start)
		}
	}
}

func testNetIn(t *testing.T, s Suite) {
	start, pool := portPool(t)
	f := s.fixture(t, "--port-pool", pool)
	h := f.create()
	netIn := func(req *wardenpb.NetInRequest) *wardenpb.NetInResponse {
		t.Helper()
		req.Handle = &h
		res, err := f.c.NetIn(f.ctx, req)
		require.NoError(t, err)
		return res
	}
	both := netIn(&wardenpb.NetInRequest{})
	assert.Equal(t, both.GetHostPort(), both.GetContainerPort(), "the same on both sides")
	assert.GreaterOrEqual(t, both.GetHostPort(), start)
	assert.Less(t, both.GetHostPort(), start+3)

	inside := netIn(&wardenpb.NetInRequest{ContainerPort: proto.Uint32(8080)})
	assert.EqualValues(t, 8080, inside.GetContainerPort())
	assert.NotEqual(t, both.GetHostPort(), inside.GetHostPort())

	port := freePort(t)
	named := netIn(&wardenpb.NetInRequest{HostPort: &port})
	assert.Equal(t, port, named.GetHostPort())
	assert.Equal(t, port, named.GetContainerPort())

	third := netIn(&wardenpb.NetInRequest{})
	_, err := f.c.NetIn(f.ctx, &wardenpb.NetInRequest{Handle: &h})
	refused(t, err, "no port of the pool is free")
	_, err = f.c.NetIn(f.ctx, &wardenpb.NetInRequest{Handle: &h, HostPort: proto.Uint32(70000)})
	refused(t, err, "Port 70000 is not between 1 and 65535")

	// After a restart they are still taken, and freed with their container.
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	other := f.create()
	_, err = f.c.NetIn(f.ctx, &wardenpb.NetInRequest{Handle: &other})
	refused(t, err, "no port of the pool is free")
	f.destroy(h)
	h = other
	seen := map[uint32]bool{}
	for range 3 {
		seen[netIn(&wardenpb.NetInRequest{}).GetHostPort()] = true
	}
	assert.Equal(t, map[uint32]bool{both.GetHostPort(): true, inside.GetHostPort(): true, third.GetHostPort(): true}, seen)
}

// testNetInRestart: a server in the container is reached on the host's port, also while and after wardend is away.
func testNetInRestart(t *testing.T, s Suite) {
	_, pool := portPool(t)
	f := s.fixture(t, "--port-pool", pool)
	h := f.createWith(&wardenpb.CreateRequest{})
	inside := freePort(t)
	res, err := f.c.NetIn(f.ctx, &wardenpb.NetInRequest{Handle: &h, ContainerPort: &inside})
	require.NoError(t, err)
	f.serve(h, inside)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(res.GetHostPort())))
	for _, restart := range []func(){func() {}, func() { f.server.End(syscall.SIGKILL) }, func() { f.server.Start() }} {
		restart()
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_, err = conn.Write([]byte("ping"))
		require.NoError(t, err)
		tcp, ok := conn.(*net.TCPConn)
		require.True(t, ok)
		require.NoError(t, tcp.CloseWrite())
		echoed, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "ping", string(echoed))
		require.NoError(t, conn.Close())
	}
	f.destroy(h)
	_, err = net.Dial("tcp", address)
	require.Error(t, err, "freed with the container")
}

func testNetOut(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	for message, req := range map[string]*wardenpb.NetOutRequest{
		"Please specify network, port, and/or port_range.": {Protocol: wardenpb.NetOutRequest_TCP.Enum()},
		"Port range maximum must be greater than minimum":  {PortRange: proto.String("8080:8080")},
		"Port range must be of the form low:high":          {PortRange: proto.String("8080")},
		"Port 65536 is not between 1 and 65535":            {Port: proto.Uint32(65536)},
	} {
		req.Handle = &h
		_, err := f.c.NetOut(f.ctx, req)
		refused(t, err, message)
	}
	for _, req := range []*wardenpb.NetOutRequest{
		{Network: proto.String("192.0.2.0/24")},
		{Network: proto.String("192.0.2.1-192.0.2.9"), Protocol: wardenpb.NetOutRequest_ALL.Enum(), Log: proto.Bool(true)},
		{Port: proto.Uint32(80)},
		{PortRange: proto.String("1:65535"), Protocol: wardenpb.NetOutRequest_UDP.Enum()},
		{Network: proto.String("192.0.2.1"), Protocol: wardenpb.NetOutRequest_ICMP.Enum(), IcmpType: proto.Int32(0), IcmpCode: proto.Int32(0)},
	} {
		req.Handle = &h
		_, err := f.c.NetOut(f.ctx, req)
		require.NoError(t, err, "%v", req)
	}
}

func testLimitMemory(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	limit := func(bytes *uint64) uint64 {
		t.Helper()
		res, err := f.c.LimitMemory(f.ctx, &wardenpb.LimitMemoryRequest{Handle: &h, LimitInBytes: bytes})
		require.NoError(t, err)
		return res.GetLimitInBytes()
	}
	require.EqualValues(t, 9223372036854771712, limit(nil), "unlimited")
	require.EqualValues(t, 64<<20, limit(proto.Uint64(64<<20+4095)), "rounded down to a page")
	require.EqualValues(t, 64<<20, limit(nil))
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.EqualValues(t, 64<<20, limit(nil))
	require.EqualValues(t, 64<<20, f.info(h).GetMemoryStat().GetHierarchicalMemoryLimit())
	require.EqualValues(t, 9223372036854771712, limit(proto.Uint64(1<<64-1)))
}

func testLimitCPU(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	limit := func(shares *uint64) uint64 {
		t.Helper()
		res, err := f.c.LimitCPU(f.ctx, &wardenpb.LimitCpuRequest{Handle: &h, LimitInShares: shares})
		require.NoError(t, err)
		return res.GetLimitInShares()
	}
	require.EqualValues(t, 1024, limit(nil))
	require.EqualValues(t, 2, limit(proto.Uint64(1)))
	require.EqualValues(t, 512, limit(proto.Uint64(512)))
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.EqualValues(t, 512, limit(nil))
}

func testLimitBandwidth(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	res, err := f.c.LimitBandwidth(f.ctx, &wardenpb.LimitBandwidthRequest{Handle: &h, Rate: proto.Uint64(1 << 20), Burst: proto.Uint64(1 << 19)})
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, res.GetRate())
	require.EqualValues(t, 1<<19, res.GetBurst())
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	stat := f.info(h).GetBandwidthStat()
	require.EqualValues(t, 1<<20, stat.GetInRate())
	require.EqualValues(t, 1<<20, stat.GetOutRate())
	require.EqualValues(t, 1<<19, stat.GetInBurst())
	require.EqualValues(t, 1<<19, stat.GetOutBurst())
}

func testLimitDisk(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	limit := func(req *wardenpb.LimitDiskRequest) *wardenpb.LimitDiskResponse {
		t.Helper()
		req.Handle = &h
		res, err := f.c.LimitDisk(f.ctx, req)
		require.NoError(t, err)
		require.Equal(t, res.GetBlockHard(), res.GetBlock())
		require.Equal(t, res.GetBlockHard(), res.GetBlockLimit())
		require.Equal(t, res.GetBlockHard()*1024, res.GetByteHard())
		require.Equal(t, res.GetByteHard(), res.GetByte())
		require.Equal(t, res.GetByteHard(), res.GetByteLimit())
		require.Equal(t, res.GetBlockSoft()*1024, res.GetByteSoft())
		require.Equal(t, res.GetInodeHard(), res.GetInode())
		require.Equal(t, res.GetInodeHard(), res.GetInodeLimit())
		return res
	}
	require.Zero(t, limit(&wardenpb.LimitDiskRequest{}).GetBlockHard())
	for _, c := range []struct {
		req                            *wardenpb.LimitDiskRequest
		blocks, soft, inodes, inodSoft uint64
	}{
		{&wardenpb.LimitDiskRequest{ByteLimit: proto.Uint64(1 << 30)}, 1 << 20, 0, 0, 0},
		{&wardenpb.LimitDiskRequest{Byte: proto.Uint64(1025)}, 2, 0, 0, 0},
		{&wardenpb.LimitDiskRequest{ByteHard: proto.Uint64(4096), ByteSoft: proto.Uint64(2048)}, 4, 2, 0, 0},
		{&wardenpb.LimitDiskRequest{BlockLimit: proto.Uint64(7)}, 7, 2, 0, 0},
		{&wardenpb.LimitDiskRequest{Block: proto.Uint64(8), BlockSoft: proto.Uint64(5)}, 8, 5, 0, 0},
		{&wardenpb.LimitDiskRequest{BlockHard: proto.Uint64(9), Inode: proto.Uint64(100)}, 9, 5, 100, 0},
		{&wardenpb.LimitDiskRequest{InodeLimit: proto.Uint64(200000), InodeSoft: proto.Uint64(1000)}, 9, 5, 200000, 1000},
		{&wardenpb.LimitDiskRequest{InodeHard: proto.Uint64(300)}, 9, 5, 300, 1000},
	} {
		res := limit(c.req)
		require.Equal(t, []uint64{c.blocks, c.soft, c.inodes, c.inodSoft},
			[]uint64{res.GetBlockHard(), res.GetBlockSoft(), res.GetInodeHard(), res.GetInodeSoft()}, "%v", c.req)
	}
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.EqualValues(t, 9, limit(&wardenpb.LimitDiskRequest{}).GetBlockHard())
}

// tree makes a directory to copy.
func tree(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "sub/empty"), 0o755))
	writeFile(t, filepath.Join(dir, "run"), "#!/bin/sh\n", 0o751)
	writeFile(t, filepath.Join(dir, "sub/secret"), "s", 0o600)
	require.NoError(t, os.Symlink("run", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("/nowhere", filepath.Join(dir, "dangling")))
	require.NoError(t, os.Chmod(filepath.Join(dir, "sub"), 0o710))
	return dir
}

func checkTree(t testing.TB, dir string) {
	t.Helper()
	for name, mode := range map[string]os.FileMode{"run": 0o751, "sub": os.ModeDir | 0o710, "sub/secret": 0o600, "sub/empty": os.ModeDir | 0o755} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), name)
	}
	for name, target := range map[string]string{"link": "run", "dangling": "/nowhere"} {
		to, err := os.Readlink(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, target, to)
	}
}

func (f *fixture) copyIn(handle, from, to string) error {
	_, err := f.c.CopyIn(f.ctx, &wardenpb.CopyInRequest{Handle: &handle, SrcPath: &from, DstPath: &to})
	return err
}

func (f *fixture) copyOut(handle, from, to, owner string) error {
	req := &wardenpb.CopyOutRequest{Handle: &handle, SrcPath: &from, DstPath: &to}
	if owner != "" {
		req.Owner = &owner
	}
	_, err := f.c.CopyOut(f.ctx, req)
	return err
}

func testCopyIn(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	src := tree(t)
	root := f.root(h)
	for _, c := range []struct{ from, to, at string }{
		{src, "/home/vcap", "home/vcap/src"},
		{src, "/tmp/new", "tmp/new/src"},
		{src + "/", "/tmp/content", "tmp/content"},
		{src + "/.", "/tmp/content2/", "tmp/content2"},
		{src + "/", "/tmp/content", "tmp/content"}, // again
	} {
		require.NoError(t, f.copyIn(h, c.from, c.to), "%v", c)
		checkTree(t, filepath.Join(root, c.at))
	}
	for to, at := range map[string]string{"/tmp/": "tmp/run", "/home/vcap": "home/vcap/run", "/tmp/renamed": "tmp/renamed", "/tmp/dir/": "tmp/dir/run"} {
		require.NoError(t, f.copyIn(h, filepath.Join(src, "run"), to))
		require.Equal(t, "#!/bin/sh\n", readFile(t, filepath.Join(root, at)), to)
	}
	f.out(h, "test -x run && test -w run && rm run && cat src/sub/secret")
}

func testCopyOut(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	require.NoError(t, f.copyIn(h, tree(t), "/tmp"))
	for _, c := range []struct{ from, to, at string }{
		{"/tmp/src", "/", "src"}, {"/tmp/src/", "/content", "content"}, {"tmp/src", "/new", "new/src"},
	} {
		to := t.TempDir()
		require.NoError(t, f.copyOut(h, c.from, filepath.Join(to, c.to), ""), "%v", c)
		checkTree(t, filepath.Join(to, c.at))
	}
	to := t.TempDir()
	me := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	if os.Getuid() == 0 {
		me = "12345:54321"
	}
	require.NoError(t, f.copyOut(h, "/tmp/src", to, me))
	for _, name := range []string{"src", "src/run", "src/link", "src/sub/secret"} {
		info, err := os.Lstat(filepath.Join(to, name))
		require.NoError(t, err)
		stat, ok := info.Sys().(*syscall.Stat_t)
		require.True(t, ok)
		require.Equal(t, me, fmt.Sprintf("%d:%d", stat.Uid, stat.Gid), name)
	}
}

func testCopyRefused(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	src, to := tree(t), t.TempDir()
	for name, err := range map[string]error{
		"in: no source":        f.copyIn(h, "/nowhere", "/tmp"),
		"in: no parent":        f.copyIn(h, src, "/tmp/a/b"),
		"in: file's no parent": f.copyIn(h, src+"/run", "/tmp/a/b"),
		"in: file with slash":  f.copyIn(h, src+"/run/", "/tmp"),
		"out: no source":       f.copyOut(h, "/nowhere", to, ""),
		"out: no parent":       f.copyOut(h, "/home", to+"/a/b", ""),
		"out: no such owner":   f.copyOut(h, "/home", to, "nosuchuser"),
		"out: no such group":   f.copyOut(h, "/home", to, "root:nosuchgroup"),
	} {
		refused(t, err, "command exited with failure")
		require.ErrorIs(t, err, warden.ErrCopyFailed, name)
	}
	entries, err := os.ReadDir(to)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// testCopyStaysInside: links that a job makes lead a copy nowhere but into the container.
func testCopyStaysInside(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	root := f.root(h)
	outside := t.TempDir()
	writeFile(t, filepath.Join(outside, "host"), "the host's", 0o644)
	f.out(h, fmt.Sprintf("ln -s %s out; ln -s ../../../../../../../../..%s rel; ln -s loop loop; mkdir mine; ln -s mine in; echo x > mine/file", outside, outside))

	for _, source := range []string{"/home/vcap/out/host", "/home/vcap/rel/host", "/home/vcap/../../.." + outside + "/host", "/home/vcap/loop/x"} {
		refused(t, f.copyOut(h, source, t.TempDir(), ""), "command exited with failure")
	}
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "in", 0o644)
	_ = f.copyIn(h, file, "/home/vcap/out/written")
	_ = f.copyIn(h, file, "/../../../"+outside+"/written")
	require.NoFileExists(t, filepath.Join(outside, "written"))

	to := t.TempDir()
	require.NoError(t, f.copyOut(h, "/home/vcap/in/", to, ""))
	require.FileExists(t, filepath.Join(to, "file"), "links within are followed")
	require.NoError(t, f.copyIn(h, file, "/home/vcap/in/"))
	require.FileExists(t, filepath.Join(root, "home/vcap/mine/file"))
}
