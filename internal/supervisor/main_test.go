package supervisor_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// wardend is the program.
var wardend string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dea")
	if err == nil {
		defer os.RemoveAll(dir)
		wardend = filepath.Join(dir, "wardend")
		command := exec.Command("go", "build", "-o", wardend, "../../wardend")
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		command.Stderr = os.Stderr
		err = command.Run()
	}
	status := 1
	if err == nil {
		status = m.Run()
		if status == 0 {
			err = goleak.Find()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "supervisor:", err)
		status = 1
	}
	return status
}

// server is a wardend of the process backend that a test may stop, start, and rob of its depot.
type server struct {
	client  *warden.Client
	socket  string
	depots  []string
	process *exec.Cmd
}

func startWardend(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "dea")
	require.NoError(t, err)
	s := &server{socket: filepath.Join(dir, "s"), depots: []string{filepath.Join(dir, "depot")}}
	s.client = warden.NewClient(s.socket)
	t.Cleanup(func() {
		require.NoError(t, s.client.Close())
		s.kill(t)
		for _, depot := range s.depots {
			said, err := exec.Command(wardend, "destroy-all", "--depot", depot).CombinedOutput()
			require.NoError(t, err, string(said))
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	s.start(t)
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	s.process = exec.Command(wardend, "--socket", s.socket, "--depot", s.depots[len(s.depots)-1], "--backend", "process")
	require.NoError(t, s.process.Start())
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.client.Ping(ctx, &wardenpb.PingRequest{})
		return err == nil
	}, patience, 5*time.Millisecond)
}

// kill ends the server as kill -9 does. Its containers run on.
func (s *server) kill(t *testing.T) {
	t.Helper()
	if s.process == nil {
		return
	}
	require.NoError(t, s.process.Process.Kill())
	_ = s.process.Wait()
	s.process = nil
}

// reboot starts a server that knows of no container. Those of before are left to be taken away at the test's end.
func (s *server) reboot(t *testing.T) {
	t.Helper()
	s.kill(t)
	s.depots = append(s.depots, filepath.Join(filepath.Dir(s.socket), fmt.Sprint("depot", len(s.depots))))
	s.start(t)
}

// crash ends the server and every process of its containers, as a machine that loses power does, and starts the server
// again on what is left on the disk.
func (s *server) crash(t *testing.T) {
	t.Helper()
	s.kill(t)
	depot := s.depots[len(s.depots)-1]
	found, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(t, err)
	killed := 0
	for _, path := range found {
		dir, err := os.Readlink(path)
		if err != nil || !strings.HasPrefix(dir, depot+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		require.NoError(t, err)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		killed++
	}
	require.NotZero(t, killed)
	s.start(t)
}
