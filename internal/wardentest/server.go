package wardentest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// patience is for a server that begins on a busy machine.
const patience = 30 * time.Second

// Server is a wardend process of the test's own.
type Server struct {
	// Client speaks to it, also after it was started again.
	Client *warden.Client

	t      testing.TB
	socket string
	// depots are those that it has had, the last one is its own.
	depots  []string
	process *exec.Cmd
}

// Start runs a server until the test ends, when all its containers are destroyed.
func Start(t testing.TB) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "dea") // A socket's path is short.
	require.NoError(t, err)
	s := &Server{t: t, socket: filepath.Join(dir, "s"), depots: []string{filepath.Join(dir, "depot")}}
	s.Client = warden.NewClient(s.socket)
	t.Cleanup(func() {
		require.NoError(t, s.Client.Close())
		s.Stop()
		for _, depot := range s.depots {
			said, err := exec.CommandContext(context.Background(), Program("wardend"), "destroy-all", "--depot", depot).CombinedOutput()
			require.NoError(t, err, string(said))
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	s.Start()
	return s
}

// Depot is the directory of its containers.
func (s *Server) Depot() string { return s.depots[len(s.depots)-1] }

// Start starts a server that was stopped or killed on what it has left.
func (s *Server) Start() {
	s.t.Helper()
	s.process = exec.CommandContext(context.Background(), Program("wardend"), "--socket", s.socket, "--depot", s.Depot(), "--backend", "process")
	require.NoError(s.t, s.process.Start())
	require.Eventually(s.t, func() bool {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		defer cancel()
		_, err := s.Client.Ping(ctx, &wardenpb.PingRequest{})
		return err == nil
	}, patience, 5*time.Millisecond)
}

// Stop ends the server and leaves its containers.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the server as kill -9 does. Its containers run on.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(by syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		return
	}
	require.NoError(s.t, s.process.Process.Signal(by))
	_ = s.process.Wait()
	s.process = nil
}

// Reboot starts a server that knows of no container. Those of before are left to be taken away at the test's end.
func (s *Server) Reboot() {
	s.t.Helper()
	s.Kill()
	s.depots = append(s.depots, filepath.Join(filepath.Dir(s.socket), fmt.Sprint("depot", len(s.depots))))
	s.Start()
}
