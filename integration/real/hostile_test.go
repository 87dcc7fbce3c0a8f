package real

import (
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

const (
	// stagingMemory and stagingDisk are what a staging gets at least, in MiB.
	stagingMemory, stagingDisk = 1024, 2048
	mebibyte                   = 1 << 20
	// hostAddress is one of the sandbox's own, which containers may reach by a rule alone.
	hostAddress = "192.0.2.10"
)

// TestStaging stages with buildpacks that look around, and with some that do what no node should suffer from.
func TestStaging(t *testing.T) {
	s := startReal(t)
	giveAddress(t)
	before := processes(t, s)
	t.Run("all", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *stack.Stack){
			"inside": inside, "by git": byGit, "full disk": fullDisk, "output": output, "endless output": endlessOutput,
			"children": children, "memory": outOfMemory,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, s)
			})
		}
	})
	t.Run("fork bomb", func(t *testing.T) { forkBomb(t, s) })
	assert.Equal(t, before, processes(t, s), "wardend and worker are those of the beginning")
	eventually(t, func() error { return s.InUse(t.Context()) })
}

// giveAddress gives the sandbox's loopback an address that is none of 127.0.0.0/8.
func giveAddress(t *testing.T) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	address, err := netlink.ParseAddr(hostAddress + "/32")
	require.NoError(t, err)
	require.NoError(t, netlink.AddrReplace(lo, address))
}

// processes are the ids of the node's wardend and worker.
func processes(t *testing.T, s *stack.Stack) [2]int {
	t.Helper()
	worker, err := s.Worker(1)
	require.NoError(t, err)
	wardend, err := s.Wardend(1)
	require.NoError(t, err)
	return [2]int{worker.PID, wardend.PID}
}

// serve listens at hostAddress and gives the port, and how many connections came.
func serve(t *testing.T, handler http.Handler) (port string, came *atomic.Int32) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", hostAddress+":0")
	require.NoError(t, err)
	came = &atomic.Int32{}
	server := &http.Server{Handler: handler, ConnState: func(_ net.Conn, state http.ConnState) { //nolint:gosec // for a moment
		if state == http.StateNew {
			came.Add(1)
		}
	}}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	_, port, err = net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port, came
}

func reaches(port string) []api.EgressRule {
	return []api.EgressRule{{Protocol: "tcp", Destination: hostAddress + "/32", Ports: port}}
}

// inside has a buildpack look around in its container, and looks at the container meanwhile.
func inside(t *testing.T, s *stack.Stack) {
	t.Helper()
	opened, reached := serve(t, http.NotFoundHandler())
	closed, never := serve(t, http.NotFoundHandler())
	one := newStaging(t, s, "inside")
	one.request.EgressNetworkRules = reaches(opened)
	one.request.Properties.Environment = []string{"HOST=" + hostAddress, "OPEN=" + opened, "CLOSED=" + closed}
	one.begin(t)
	one.says(t, "waiting")
	log := one.log(t)
	for _, line := range []string{"user vcap, umask", "open is reached\n", "closed is not reached\n"} {
		assert.Contains(t, log, line)
	}
	t.Run("app directory", func(t *testing.T) { // buildpacks that were written for Heroku look for it
		assert.Contains(t, log, "/app belongs to vcap\n")
		assert.Contains(t, log, "/app is not empty\n")
	})
	assert.Positive(t, reached.Load())
	assert.Zero(t, never.Load())

	c := warden.NewClient(s.Nodes[0].WardenSocket)
	defer func() { _ = c.Close() }()
	handle := proto.String(api.StagingHandle(one.request.TaskID))
	// Without a new limit each of these tells the one that there is.
	memory, err := c.LimitMemory(t.Context(), &wardenpb.LimitMemoryRequest{Handle: handle})
	require.NoError(t, err)
	assert.EqualValues(t, stagingMemory*mebibyte, memory.GetLimitInBytes())
	disk, err := c.LimitDisk(t.Context(), &wardenpb.LimitDiskRequest{Handle: handle})
	require.NoError(t, err)
	assert.EqualValues(t, stagingDisk*mebibyte, disk.GetByteLimit())
	shares, err := c.LimitCPU(t.Context(), &wardenpb.LimitCpuRequest{Handle: handle})
	require.NoError(t, err)
	assert.EqualValues(t, 512, shares.GetLimitInShares())
	info, err := c.Info(t.Context(), &wardenpb.InfoRequest{Handle: handle})
	require.NoError(t, err)
	assert.EqualValues(t, stagingMemory*mebibyte, info.GetMemoryStat().GetHierarchicalMemoryLimit())

	_, err = c.Run(t.Context(), &wardenpb.RunRequest{Handle: handle, Script: proto.String("touch /tmp/go")})
	require.NoError(t, err)
	result, err := one.ends(t)
	require.NoError(t, err)
	assert.Equal(t, "Inside", result.DetectedBuildpack)
}

// byGit has the container's git clone a buildpack from the host, which a rule lets it reach.
func byGit(t *testing.T, s *stack.Stack) {
	t.Helper()
	root := t.TempDir()
	git := func(dir string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com",
		}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "git %q: %s", args, out)
		return strings.TrimSpace(string(out))
	}
	work := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(work, "pack"), os.DirFS(filepath.Join("..", "testdata", "buildpacks", "colours"))))
	git(filepath.Join(work, "pack"), "init", "--quiet", "--initial-branch=main")
	git(filepath.Join(work, "pack"), "add", "--all")
	git(filepath.Join(work, "pack"), "commit", "--quiet", "--message=c")
	git(root, "clone", "--quiet", "--bare", filepath.Join(work, "pack"), "pack.git")
	port, _ := serve(t, &cgi.Handler{
		Path: filepath.Join(git(root, "--exec-path"), "git-http-backend"), Dir: root, Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
	})
	url := "http://" + net.JoinHostPort(hostAddress, port) + "/pack.git"

	one := newStaging(t, s, "bomb")
	one.request.EgressNetworkRules = reaches(port)
	one.request.Properties.Buildpack = url + "#main"
	result := one.works(t)
	assert.Equal(t, "Colours", result.DetectedBuildpack)
	assert.Empty(t, result.BuildpackKey)
	assert.Contains(t, one.log(t), "-----> Cloned buildpack "+url+"#main at ")

	apart := newStaging(t, s, "bomb")
	apart.request.Properties.Buildpack = url
	assert.Contains(t, apart.fails(t, api.ErrStaging), "the server cannot be reached", "no rule names it")
}

// fullDisk has a buildpack write until its own disk is full, which is not the node's.
func fullDisk(t *testing.T, s *stack.Stack) {
	t.Helper()
	one := newStaging(t, s, "filler")
	assert.Equal(t, "Buildpack compilation step failed: the staging's disk is full", one.fails(t, api.ErrBuildpackCompile))
	assert.Regexp(t, "No space left on device|Disk quota exceeded", one.log(t))
}

// output has a buildpack try to leave more for the node than the files that are meant for it.
func output(t *testing.T, s *stack.Stack) {
	t.Helper()
	one := newStaging(t, s, "outside")
	one.works(t)
	log := one.log(t)
	for _, name := range []string{"started", "staging.log", "droplet.tgz", "buildpack_cache.tgz", "result.json"} {
		assert.Contains(t, log, "kept "+name+"\n")
	}
	for _, done := range []string{"missing ", "removed ", "moved ", "linked ", "replaced ", "made a ", "wrote the "} {
		for line := range strings.Lines(log) {
			assert.False(t, strings.HasPrefix(line, done), line)
		}
	}
}

// endlessOutput has a buildpack take more of the node's disk than a staging may, and never end: no file can be larger than
// its own disk, and all together are looked at.
func endlessOutput(t *testing.T, s *stack.Stack) {
	t.Helper()
	one := newStaging(t, s, "growing")
	message := one.fails(t, api.ErrStaging)
	assert.Equal(t, "the build's droplet, cache and log are larger than its disk of "+strconv.Itoa(stagingDisk)+" MB could hold", message)
	log := one.log(t)
	assert.Contains(t, log, "nothing beyond the size of droplet.tgz\n")
	assert.Contains(t, log, "not 3 GiB of droplet.tgz\n")
	assert.Contains(t, log, "took 2 GiB of droplet.tgz\n")
	assert.NotContains(t, log, "took 3 GiB")
}

// children has a buildpack leave some that never end.
func children(t *testing.T, s *stack.Stack) {
	t.Helper()
	const seconds = "864214"
	one := newStaging(t, s, "forks")
	one.request.Properties.Environment = []string{"FORK_SECONDS=" + seconds}
	one.works(t)
	eventually(t, func() error { return nobodySleeps(seconds) })
}

// outOfMemory has a buildpack want more memory than the staging has.
func outOfMemory(t *testing.T, s *stack.Stack) {
	t.Helper()
	one := newStaging(t, s, "hungry")
	assert.Equal(t, "the build ran out of memory: "+strconv.Itoa(stagingMemory)+" MB are its limit", one.fails(t, api.ErrStaging))
}

// forkBomb has a buildpack make as many processes as it may, and leave them: its staging comes to an end, and the node
// goes on.
func forkBomb(t *testing.T, s *stack.Stack) {
	t.Helper()
	const seconds = "864215"
	one := newStaging(t, s, "bomb")
	one.request.Properties.Environment = []string{"FORK_SECONDS=" + seconds}
	one.begin(t)
	result, err := one.ends(t)
	if err != nil { // what comes after it may find no room for a process
		require.ErrorIs(t, err, controller.ErrStagingFailed)
		assert.NotContains(t, result.Error, "internal error")
	}
	assert.Contains(t, one.log(t), "-----> Forked until it could not: many\n")
	eventually(t, func() error { return nobodySleeps(seconds) })
	newStaging(t, s, "colours").works(t)
}
