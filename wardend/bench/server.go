package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/ociruntime"
)

// server is a wardend of the benchmark's own, with the runtime that it uses.
type server struct {
	options
	dir     string
	cmd     *exec.Cmd
	client  *warden.Client
	runtime *ociruntime.Runtime
}

const startTimeout = 30 * time.Second

func start(ctx context.Context, o options) (_ *server, failed error) {
	dir, err := os.MkdirTemp("", "wardend-bench")
	if err != nil {
		return nil, err
	}
	s := &server{options: o, dir: dir}
	defer func() {
		if failed != nil {
			failed = errors.Join(failed, s.stop())
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // containers' users pass through
		return nil, err
	}
	rootfs := exec.CommandContext(ctx, o.wardend, "rootfs", "host", s.path("rootfs"), //nolint:gosec // the operator's
		"--exclude", "/usr/local", "--exclude", "/usr/share", "--exclude", "/usr/include", "--exclude", "/usr/src")
	if out, err := rootfs.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a rootfs: %w: %s", err, out)
	}
	s.runtime, err = ociruntime.Find(ctx, ociruntime.Options{
		Path: o.runtime, StateDir: s.path("floor"), InitBinary: o.wardend, Log: hclog.NewNullLogger(),
	})
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(os.Stderr, "bench: runtime", s.runtime)
	return s, s.serve(ctx)
}

func (s *server) serve(ctx context.Context) error {
	log, err := os.Create(s.path("log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	s.cmd = exec.Command(s.wardend, s.flags("--socket", s.path("s"), "--rootfs", s.path("rootfs"), //nolint:gosec,noctx // ended by stop
		"--pool-network", "10.200.0.0/16", "--runtime", s.options.runtime)...)
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.client = warden.NewClient(s.path("s"))
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		_, err := s.client.Ping(ctx, &wardenpb.PingRequest{})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			words, _ := os.ReadFile(s.path("log"))
			return fmt.Errorf("wardend does not answer: %w: %s", err, words)
		}
		time.Sleep(10 * time.Millisecond) //nolint:mnd // until it listens
	}
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *server) flags(more ...string) []string {
	return append([]string{"--depot", s.path("depot"), "--backend", "oci", "--log-level", "warn"}, more...)
}

// stop leaves nothing.
func (s *server) stop() error {
	if s.client != nil {
		_ = s.client.Close()
	}
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
		destroy := exec.Command(s.wardend, append([]string{"destroy-all"}, s.flags()...)...) //nolint:gosec,noctx // the last thing
		if out, err := destroy.CombinedOutput(); err != nil {
			// Nothing is removed: what is left may be mounted.
			return errors.Join(fmt.Errorf("destroy-all: %w: %s", err, out), fmt.Errorf("containers may be left in %s", s.dir))
		}
	}
	return errors.Join(removeBare(), os.RemoveAll(s.dir))
}

// inits are the process ids of all containers' inits.
func (s *server) inits() ([]int, error) {
	records, err := filepath.Glob(s.path("depot/containers/*/oci.json"))
	if err != nil {
		return nil, err
	}
	pids := make([]int, 0, len(records))
	for _, path := range records {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var record struct{ PID int }
		if err := json.Unmarshal(raw, &record); err != nil {
			return nil, err
		}
		pids = append(pids, record.PID)
	}
	return pids, nil
}
