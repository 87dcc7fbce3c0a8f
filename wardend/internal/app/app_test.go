package app

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend/oci"
	"github.com/durable-dea/dea/wardend/internal/config"
	"github.com/durable-dea/dea/wardend/internal/container"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "init" {
		os.Exit(initproc.Main())
	}
	goleak.VerifyTestMain(m)
}

func initCommand() []string { return []string{"/proc/self/exe", "init"} }

func testConfig(t *testing.T) config.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "wardend")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	cfg := config.Default()
	cfg.Backend = config.BackendProcess
	cfg.Socket, cfg.Depot = filepath.Join(dir, "s"), filepath.Join(dir, "depot")
	return cfg
}

// TestServeAndServeAgain: each kind of end leaves the container to the next server in the same process.
func TestServeAndServeAgain(t *testing.T) {
	cfg := testConfig(t)
	c := warden.NewClient(cfg.Socket)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	t.Cleanup(func() {
		require.NoError(t, DestroyAll(context.Background(), cfg, hclog.NewNullLogger(), initCommand()))
	})
	h := proto.String("kept")
	for round, how := range []string{"drain", "end", "context"} {
		ctx, cancel := context.WithCancel(t.Context())
		drain, end, ready := make(chan os.Signal), make(chan os.Signal), make(chan struct{})
		served := make(chan error, 1)
		go func() {
			served <- Serve(ctx, cfg, hclog.NewNullLogger(), initCommand(), Signals{Drain: drain, End: end}, func() { close(ready) })
		}()
		select {
		case <-ready:
		case err := <-served:
			require.NoError(t, err)
		}
		if round == 0 {
			_, err := c.Create(t.Context(), &wardenpb.CreateRequest{Handle: h})
			require.NoError(t, err)
		}
		err := destroyAllSoon(t, cfg)
		require.ErrorIs(t, err, container.ErrDepotInUse, "a depot that is served is left alone")
		res, err := c.Run(t.Context(), &wardenpb.RunRequest{Handle: h, Script: proto.String("echo $((1+1))")})
		require.NoError(t, err)
		require.Equal(t, "2\n", res.GetStdout())
		switch how {
		case "drain":
			close(drain)
		case "end":
			close(end)
		}
		if how == "context" {
			cancel()
		}
		require.NoError(t, <-served)
		cancel()
		require.NoFileExists(t, cfg.Socket)
	}
}

// TestDrainHurries: a drain that takes too long can still be ended without a KILL.
func TestDrainHurries(t *testing.T) {
	draining, cut := context.WithCancel(t.Context())
	hurry := make(chan os.Signal)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cutLater(draining, cut, hurry, time.Millisecond)
	}()
	require.NoError(t, draining.Err())
	hurry <- os.Interrupt
	<-draining.Done()
	<-done
}

// destroyAllSoon tries to destroy, without waiting long for the depot.
func destroyAllSoon(t *testing.T, cfg config.Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	return DestroyAll(ctx, cfg, hclog.NewNullLogger(), initCommand())
}

func TestBackends(t *testing.T) {
	cfg := testConfig(t)
	cfg.Backend, cfg.Runtime = config.BackendOCI, "/no/such/runtime"
	_, err := OpenRegistry(t.Context(), cfg, hclog.NewNullLogger(), initCommand())
	require.ErrorIs(t, err, oci.ErrUnusable)
	for _, name := range []string{config.BackendAuto, config.BackendProcess} {
		cfg.Backend = name
		var out bytes.Buffer
		cfg.LogFormat = "json"
		log, closer, err := NewLogger(cfg, &out)
		require.NoError(t, err)
		r, err := OpenRegistry(t.Context(), cfg, log, initCommand())
		require.NoError(t, err)
		r.Close()
		require.NoError(t, closer.Close())
		require.Contains(t, out.String(), "CONTAINERS ARE NOT ISOLATED")
		require.Contains(t, out.String(), `"@level":"warn"`)
	}
}

func TestLogFile(t *testing.T) {
	cfg := testConfig(t)
	cfg.LogFile = filepath.Join(t.TempDir(), "log")
	log, closer, err := NewLogger(cfg, io.Discard)
	require.NoError(t, err)
	log.Debug("not this")
	log.Info("words")
	require.NoError(t, closer.Close())
	raw, err := os.ReadFile(cfg.LogFile)
	require.NoError(t, err)
	require.Contains(t, string(raw), "words")
	require.NotContains(t, string(raw), "not this")
	cfg.LogFile = "/no/such/dir/log"
	_, _, err = NewLogger(cfg, io.Discard)
	require.ErrorIs(t, err, os.ErrNotExist)
}
