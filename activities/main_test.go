package activities_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// programs is the directory with the programs that the tests run.
var programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dea")
	if err == nil {
		programs = dir
		err = build("wardend", "dea-runner")
	}
	status := 1
	if err == nil {
		status = m.Run()
		if status == 0 {
			err = goleak.Find()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "activities:", err)
		status = 1
	}
	os.RemoveAll(dir)
	os.Exit(status)
}

func build(names ...string) error {
	sources := map[string]string{"wardend": "../wardend", "dea-runner": "../runner"}
	for _, name := range names {
		output := filepath.Join(programs, name, name)
		command := exec.Command("go", "build", "-o", output, sources[name])
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if said, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, said)
		}
	}
	return nil
}

// server is a wardend process of the test's own.
type server struct {
	client  *warden.Client
	socket  string
	depot   string
	process *exec.Cmd
}

// startWardend runs a wardend until the test ends, when all its containers are destroyed.
func startWardend(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "dea")
	require.NoError(t, err)
	s := &server{socket: filepath.Join(dir, "s"), depot: filepath.Join(dir, "depot")}
	s.client = warden.NewClient(s.socket)
	t.Cleanup(func() {
		require.NoError(t, s.client.Close())
		s.stop(t)
		said, err := exec.Command(wardend(), "destroy-all", "--depot", s.depot).CombinedOutput()
		require.NoError(t, err, string(said))
		require.NoError(t, os.RemoveAll(dir))
	})
	s.start(t)
	return s
}

func wardend() string { return filepath.Join(programs, "wardend", "wardend") }

func (s *server) start(t *testing.T) {
	t.Helper()
	var log bytes.Buffer
	s.process = exec.Command(wardend(), "--socket", s.socket, "--depot", s.depot, "--backend", "process")
	s.process.Stdout, s.process.Stderr = &log, &log
	require.NoError(t, s.process.Start())
	up := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.client.Ping(ctx, &wardenpb.PingRequest{})
		return err == nil
	}
	require.Eventually(t, up, patience, 5*time.Millisecond)
}

// stop ends the server and leaves its containers.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if s.process == nil {
		return
	}
	require.NoError(t, s.process.Process.Signal(syscall.SIGTERM))
	_ = s.process.Wait()
	s.process = nil
}

// containers are the activities of a node whose Warden is s. runner is the directory of the dea-runner program.
func (n *node) containers(s *server, runner string) *activities.Containers {
	return activities.NewContainers(activities.ContainersDeps{
		Warden: s.client, Config: n.config, Workspaces: n.workspaces, Packages: n.packages(),
		Cache: n.droplets, Runner: runner, Log: hclog.NewNullLogger(),
	})
}
