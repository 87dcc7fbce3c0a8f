package conformance

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// real are the tests that only containers of their own can pass.
func (Suite) real() map[string]func(*testing.T, Suite) {
	return map[string]func(*testing.T, Suite){
		"real: namespaces":           testNamespaces,
		"real: users":                testUsers,
		"real: confined":             testConfined,
		"real: root is an overlay":   testLayers,
		"real: out of memory":        testOutOfMemory,
		"real: out of memory, away":  testOutOfMemoryAway,
		"real: memory not charged":   testMemoryNotCharged,
		"real: processes":            testPidsLimit,
		"real: disk":                 testDiskEnforced,
		"real: statistics":           testStatistics,
		"real: info's fields":        testInfoFields,
		"real: addresses":            testAddresses,
		"real: network asked for":    testNetworkAskedFor,
		"real: network":              testNetwork,
		"real: network, restart":     testNetworkRestart,
		"real: bandwidth":            testBandwidthEnforced,
		"real: read-only mounts":     testReadOnlyMounts,
		"real: mounts stay as found": testMountsStayAsFound,
		"real: init killed":          testInitKilled,
		"real: destroy, held":        testDestroyHeld,
		"real: frozen":               testFrozen,
		"real: restart at each step": testRestartEachStep,
	}
}

const toolDir = "/opt/tool"

// createWith makes a container that has the tests' tool.
func (f *fixture) createWith(req *wardenpb.CreateRequest) string {
	f.t.Helper()
	source := filepath.Dir(f.tool)
	req.BindMounts = append(req.BindMounts, &wardenpb.CreateRequest_BindMount{
		SrcPath: &source, DstPath: proto.String(toolDir), Mode: wardenpb.CreateRequest_BindMount_RO.Enum(),
	})
	res, err := f.c.Create(f.ctx, req)
	require.NoError(f.t, err)
	return res.GetHandle()
}

// toolIn is a shell command of the tool, on any kind of container.
func (f *fixture) toolIn(args ...any) string {
	words := []string{`"${HOME%/home/vcap}` + toolDir + "/" + filepath.Base(f.tool) + `"`}
	for _, a := range args {
		words = append(words, fmt.Sprint(a))
	}
	return strings.Join(words, " ")
}

// serve starts an echo in a container and waits until it listens.
func (f *fixture) serve(h string, port uint32) {
	f.t.Helper()
	f.spawn(h, f.toolIn("echo", port)+fmt.Sprintf(" > ready-%d", port))
	f.eventually(func() bool { return f.run(h, fmt.Sprintf("grep -q ready ready-%d", port)).GetExitStatus() == 0 }, "the echo listens")
}

func (f *fixture) reaches(h, address string) bool {
	f.t.Helper()
	return f.run(h, f.toolIn("dial", address)).GetExitStatus() == 0
}

func (f *fixture) privileged(h, script string) *wardenpb.RunResponse {
	f.t.Helper()
	res, err := f.c.Run(f.ctx, &wardenpb.RunRequest{Handle: &h, Script: &script, Privileged: proto.Bool(true)})
	require.NoError(f.t, err)
	return res
}

func testNamespaces(t *testing.T, s Suite) {
	f := s.fixture(t)
	a, b := f.create(), f.create()
	for _, ns := range []string{"pid", "mnt", "net", "ipc", "uts", "user"} {
		link := "readlink /proc/self/ns/" + ns
		host, err := os.Readlink("/proc/self/ns/" + ns)
		require.NoError(t, err)
		inA, inB := f.out(a, link), f.out(b, link)
		assert.NotEqual(t, host, inA, ns)
		assert.NotEqual(t, inA, inB, ns)
	}
	require.Equal(t, "1", f.out(a, "cat /proc/1/stat | cut -d' ' -f1"))
	require.Equal(t, f.out(a, "hostname"), f.out(a, "cat /etc/hostname"))
}

func testUsers(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	require.Equal(t, "vcap vcap /home/vcap", f.out(h, `echo $(id -un) $(id -gn) $HOME`))
	require.NotEqual(t, "0", f.out(h, "id -u"))
	f.out(h, "touch mine")
	res := f.privileged(h, `id -u; id -g; echo $HOME; pwd; touch /root/x /etc/x && chown vcap /etc/x && stat -c %U /etc/x /home/vcap/mine`)
	require.Equal(t, "0\n0\n/root\n/root\nvcap\nvcap\n", res.GetStdout(), res.GetStderr())
	require.NotZero(t, f.run(h, "touch /etc/y").GetExitStatus())
	// Nobody on the host is the container's root.
	var stat syscall.Stat_t
	require.NoError(t, syscall.Stat(filepath.Join(f.root(h), "etc/x"), &stat))
	require.Greater(t, stat.Uid, uint32(65535))
	other := f.create()
	f.out(other, "touch mine")
	var otherStat syscall.Stat_t
	require.NoError(t, syscall.Stat(filepath.Join(f.root(other), "home/vcap/mine"), &otherStat))
	require.Greater(t, otherStat.Uid, uint32(65535))
	require.Greater(t, max(otherStat.Uid, stat.Uid)-min(otherStat.Uid, stat.Uid), uint32(60000), "two containers have no user in common")
}

// testConfined: what even the container's root cannot do.
func testConfined(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	status := f.out(h, "grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd):' /proc/self/status | tr -s '\\t' ' '")
	require.Contains(t, status, "NoNewPrivs: 1")
	require.Contains(t, status, "Seccomp: 2")
	require.Contains(t, status, "CapEff: 0000000000000000", "vcap has no capability")
	for name, script := range map[string]string{
		"mounts":               "mount -t tmpfs none /mnt || mount --bind /tmp /mnt",
		"kernel settings":      "echo 1 > /proc/sys/kernel/panic",
		"sysrq":                "echo h > /proc/sysrq-trigger",
		"kernel memory":        "head -c1 /proc/kcore | grep -q .",
		"addresses":            "ip addr add 10.254.0.200/24 dev eth0",
		"the host's clock":     "date -s 2001-01-01",
		"namespaces":           "unshare -n true || unshare -m true",
		"the init's directory": "cd /proc/1/cwd && ls",
		"the init's files":     "ls -l /proc/1/fd/ && cat /proc/1/fd/3",
		"the init's memory":    "head -c1 /proc/1/mem",
		"the init":             "kill -9 1; kill -STOP 1; sleep 0.1; test \"$(cut -d' ' -f3 /proc/1/stat)\" != S",
		"devices":              "mknod /tmp/disk b 254 0 && head -c1 /tmp/disk",
		"its binary":           "echo x > /.wardend-init || rm -f /.wardend-init && test ! -e /.wardend-init",
	} {
		res := f.privileged(h, script)
		assert.NotZero(t, res.GetExitStatus(), "%s: %s %s", name, res.GetStdout(), res.GetStderr())
	}
	require.Equal(t, "fine", f.out(h, "echo fine"))
}

// testLayers: containers share their rootfs and do not change it.
func testLayers(t *testing.T, s Suite) {
	f := s.fixture(t)
	app, more := openDir(t), openDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(app, "home/vcap/app"), 0o755))
	writeFile(t, filepath.Join(app, "home/vcap/app/file"), "app", 0o644)
	writeFile(t, filepath.Join(app, "both"), "app", 0o644)
	writeFile(t, filepath.Join(more, "both"), "more", 0o644)
	stack := f.rootfs
	rootfs := app + ":" + more + ":" + stack
	var handles []string
	for range 3 {
		res, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{Rootfs: &rootfs})
		require.NoError(t, err)
		h := res.GetHandle()
		handles = append(handles, h)
		require.Equal(t, "app app", f.out(h, "cat app/file; echo -n ' '; cat /both"))
		res2 := f.privileged(h, "echo changed > /both; rm /home/vcap/app/file; echo new > /new")
		require.Zero(t, res2.GetExitStatus(), res2.GetStderr())
	}
	require.Equal(t, "app", readFile(t, filepath.Join(app, "both")))
	require.FileExists(t, filepath.Join(app, "home/vcap/app/file"))
	require.NoFileExists(t, filepath.Join(app, "new"))
	missing := app + ":/nowhere:" + stack
	_, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{Rootfs: &missing})
	refused(t, err, "rootfs "+missing+" not found")
	for _, h := range handles {
		f.destroy(h)
	}
	entries, err := os.ReadDir(app)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing was added")
}

// openDir is a directory that everybody can pass through.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "layer")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func (f *fixture) limitMemory(h string, bytes uint64) {
	f.t.Helper()
	_, err := f.c.LimitMemory(f.ctx, &wardenpb.LimitMemoryRequest{Handle: &h, LimitInBytes: &bytes})
	require.NoError(f.t, err)
}

func testOutOfMemory(t *testing.T, s Suite) {
	f := s.fixture(t)
	h, other := f.createWith(&wardenpb.CreateRequest{}), f.createWith(&wardenpb.CreateRequest{})
	f.limitMemory(h, 64<<20)
	bystander := f.spawn(h, "sleep 1000")
	res := f.run(h, "exec "+f.toolIn("eat", 256<<20))
	require.EqualValues(t, 255, res.GetExitStatus())
	require.Contains(t, res.GetInfo().GetEvents(), "out of memory", "it is told with the end")
	require.Equal(t, "stopped", res.GetInfo().GetState())
	end := f.link(h, bystander)
	require.EqualValues(t, 255, end.GetExitStatus(), "all jobs end")
	require.Contains(t, end.GetInfo().GetEvents(), "out of memory")
	_, err := f.c.Run(f.ctx, &wardenpb.RunRequest{Handle: &h, Script: proto.String("true")})
	require.ErrorIs(t, err, warden.ErrWrongState)
	require.Equal(t, "fine", f.out(other, "echo fine"), "others do not notice")
	require.Empty(t, f.info(other).GetEvents())
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.Equal(t, []string{"out of memory"}, f.info(h).GetEvents(), "once, and kept")
}

// testOutOfMemoryAway: it is noticed when it happens while no server is there.
func testOutOfMemoryAway(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.createWith(&wardenpb.CreateRequest{})
	root := f.root(h)
	f.limitMemory(h, 64<<20)
	job := f.spawn(h, `echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done; exec `+f.toolIn("eat", 256<<20))
	f.eventually(func() bool { return f.run(h, "test -s pid").GetExitStatus() == 0 }, "the job runs")
	pid := f.hostPID(h, f.number(h, "cat pid"))
	f.server.End(syscall.SIGKILL)
	writeFile(t, filepath.Join(root, "home/vcap/go"), "", 0o644)
	f.eventually(func() bool { return syscall.Kill(pid, 0) != nil }, "the kernel ends it")
	f.server.Start()
	res := f.link(h, job)
	require.EqualValues(t, 255, res.GetExitStatus())
	require.Contains(t, res.GetInfo().GetEvents(), "out of memory")
	require.Equal(t, "stopped", f.info(h).GetState())
}

// testMemoryNotCharged: what a job writes to its output is the server's memory, not the application's.
func testMemoryNotCharged(t *testing.T, s Suite) {
	f := s.fixture(t, "--job-output-limit", strconv.Itoa(64<<20))
	h := f.create()
	f.limitMemory(h, 24<<20)
	res := f.run(h, "head -c 50000000 /dev/zero")
	require.Zero(t, res.GetExitStatus())
	require.Len(t, res.GetStdout(), 50000000)
	require.Empty(t, f.info(h).GetEvents())
}

func testPidsLimit(t *testing.T, s Suite) {
	f := s.fixture(t, "--pids-limit", "30")
	h := f.create()
	res := f.run(h, "for i in $(seq 60); do sleep 100 & done; wait")
	require.NotZero(t, res.GetExitStatus())
	require.Contains(t, res.GetStderr(), "fork")
	f.privileged(h, "kill -9 -1")
	f.eventually(func() bool { return f.run(h, "true").GetExitStatus() == 0 }, "it goes on when there is room")
}

func testDiskEnforced(t *testing.T, s Suite) {
	f := s.fixture(t)
	h, other := f.create(), f.create()
	limit := func(bytes uint64) {
		t.Helper()
		_, err := f.c.LimitDisk(f.ctx, &wardenpb.LimitDiskRequest{Handle: &h, ByteLimit: &bytes})
		require.NoError(t, err)
	}
	limit(20 << 20)
	require.NotZero(t, f.run(h, "head -c 40000000 /dev/urandom > big && sync big").GetExitStatus())
	f.out(h, "rm -f big; sync; head -c 4000000 /dev/urandom > small && sync small")
	f.out(other, "head -c 40000000 /dev/urandom > big && sync big")
	require.Zero(t, f.privileged(h, "rm -f /x").GetExitStatus())
	require.NotZero(t, f.privileged(h, "head -c 40000000 /dev/urandom > /x && sync /x").GetExitStatus(), "root has the same limit")
	f.privileged(h, "rm -f /x; sync")
	limit(80 << 20)
	f.out(h, "head -c 40000000 /dev/urandom > big && sync big")
	f.eventually(func() bool { return f.info(h).GetDiskStat().GetBytesUsed() > 40<<20 }, "Info tells the use")
	require.Less(t, f.info(h).GetDiskStat().GetBytesUsed(), uint64(60<<20))
	limit(0)
	f.out(h, "head -c 60000000 /dev/urandom > bigger && sync bigger")
}

func testStatistics(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.createWith(&wardenpb.CreateRequest{})
	before := f.info(h)
	f.spawn(h, f.toolIn("eat", 40<<20))
	f.eventually(func() bool { return f.info(h).GetMemoryStat().GetRss() > 40<<20 }, "memory")
	f.out(h, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
	after := f.info(h)
	require.Greater(t, after.GetCpuStat().GetUsage(), before.GetCpuStat().GetUsage()+uint64(50*time.Millisecond))
	require.Less(t, after.GetMemoryStat().GetRss(), uint64(80<<20))
	f.out(h, "for i in $(seq 100); do : > file-$i; done")
	f.eventually(func() bool {
		return f.info(h).GetDiskStat().GetInodesUsed() >= before.GetDiskStat().GetInodesUsed()+100
	}, "inodes")
}

// testInitKilled: a container whose init was killed is stopped, its jobs have ended, and it can be copied from.
func testInitKilled(t *testing.T, s Suite) {
	f := s.fixture(t)
	h := f.create()
	f.out(h, "echo kept > file")
	job := f.spawn(h, "sleep 1000")
	init := f.hostPID(h, 1)
	require.NoError(t, syscall.Kill(init, syscall.SIGKILL))
	require.EqualValues(t, 255, f.link(h, job).GetExitStatus())
	info := f.info(h)
	require.Equal(t, "stopped", info.GetState())
	require.Equal(t, []string{"the container's init process is gone: its jobs were lost"}, info.GetEvents())
	to := t.TempDir()
	require.NoError(t, f.copyOut(h, "/home/vcap/file", to, ""))
	require.Equal(t, "kept\n", readFile(t, filepath.Join(to, "file")))
	f.server.End(syscall.SIGKILL)
	f.server.Start()
	require.Equal(t, "stopped", f.info(h).GetState())
	f.destroy(h)
}

// testRestartEachStep: a container goes on after the server is killed at each step of its life.
func testRestartEachStep(t *testing.T, s Suite) {
	f := s.fixture(t)
	restart := func() {
		f.server.End(syscall.SIGKILL)
		f.server.Start()
	}
	h := f.createWith(&wardenpb.CreateRequest{})
	restart()
	port, err := f.c.NetIn(f.ctx, &wardenpb.NetInRequest{Handle: &h, ContainerPort: proto.Uint32(8080)})
	require.NoError(t, err)
	restart()
	f.limitMemory(h, 128<<20)
	restart()
	_, err = f.c.LimitDisk(f.ctx, &wardenpb.LimitDiskRequest{Handle: &h, ByteLimit: proto.Uint64(50 << 20)})
	require.NoError(t, err)
	restart()
	_, err = f.c.NetOut(f.ctx, &wardenpb.NetOutRequest{Handle: &h, Network: proto.String("192.0.2.0/24")})
	require.NoError(t, err)
	restart()
	f.serve(h, 8080)
	restart()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port.GetHostPort())))
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	require.NoError(t, err)
	_ = conn.Close()
	require.NotZero(t, f.run(h, "head -c 60000000 /dev/urandom > big && sync big").GetExitStatus(), "the disk's limit is there")
	f.out(h, "rm -f big")
	res := f.run(h, "exec "+f.toolIn("eat", 512<<20))
	require.EqualValues(t, 255, res.GetExitStatus(), "the memory's limit is there")
	restart()
	require.Equal(t, "stopped", f.info(h).GetState())
	f.destroy(h)
	restart()
	require.Empty(t, f.list())
}
