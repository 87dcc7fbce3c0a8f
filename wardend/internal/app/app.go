package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/backend/oci"
	"github.com/durable-dea/dea/wardend/internal/backend/process"
	"github.com/durable-dea/dea/wardend/internal/config"
	"github.com/durable-dea/dea/wardend/internal/container"
	"github.com/durable-dea/dea/wardend/internal/pool"
	"github.com/durable-dea/dea/wardend/internal/server"
)

const (
	// depotWait is how long a server that is about to leave the depot is waited for.
	depotWait = 15 * time.Second
	// cutAfter is how long requests may still take when the server is told to end; draining has no such bound.
	cutAfter = 10 * time.Second
)

// Signals end a server. Each channel ends it when it is closed or something is sent.
type Signals struct {
	// Drain lets requests that do not only wait end, however long they take, or until End tells it to hurry.
	Drain <-chan os.Signal
	// End gives them a few seconds.
	End <-chan os.Signal
}

// Serve runs a server until a signal ends it. Ready is called once when requests are answered.
func Serve(ctx context.Context, cfg config.Config, log hclog.Logger, initCommand []string, signals Signals, ready func()) error {
	for _, key := range cfg.Ignored {
		log.Info("key of the configuration has no meaning here", "key", key)
	}
	if cfg.PortSize == 0 {
		cfg.PortStart, cfg.PortSize = pool.DefaultRange()
	}
	registry, err := OpenRegistry(ctx, cfg, log, initCommand)
	if err != nil {
		return err
	}
	defer registry.Close()
	listener, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	s := server.New(registry, 0, log.Named("server"))
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	log.Info("serving", "socket", cfg.Socket, "depot", cfg.Depot)
	ready()

	end, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	select {
	case err := <-served:
		cancel()
		s.Shutdown(end)
		return err
	case <-signals.Drain:
		log.Info("draining: containers and jobs are left to the next wardend")
		go cutLater(end, cancel, signals.End, cutAfter)
	case <-signals.End:
		log.Info("ending: containers and jobs are left to the next wardend")
		end, cancel = context.WithTimeout(end, cutAfter)
		defer cancel()
	case <-ctx.Done():
		cancel()
	}
	s.Shutdown(end)
	return <-served
}

// listen makes the socket. Who names a group wants it to connect, whatever the mode says.
func listen(ctx context.Context, cfg config.Config) (*net.UnixListener, error) {
	const groups = 0o060
	if cfg.SocketGroup == "" {
		return server.Listen(ctx, cfg.Socket, cfg.SocketMode, -1)
	}
	gid, err := server.LookupGroup(cfg.SocketGroup)
	if err != nil {
		return nil, err
	}
	return server.Listen(ctx, cfg.Socket, cfg.SocketMode|groups, gid)
}

// cutLater ends a drain a while after it was told to hurry.
func cutLater(draining context.Context, cut context.CancelFunc, hurry <-chan os.Signal, after time.Duration) {
	select {
	case <-draining.Done():
		return
	case <-hurry:
	}
	select {
	case <-draining.Done():
	case <-time.After(after):
		cut()
	}
}

// OpenRegistry takes over the depot of a configuration.
func OpenRegistry(ctx context.Context, cfg config.Config, log hclog.Logger, initCommand []string) (*container.Registry, error) {
	start, size := cfg.PortStart, cfg.PortSize
	if start == 0 {
		start, size = pool.DefaultRange()
	}
	ports, err := pool.NewPorts(start, size)
	if err != nil {
		return nil, err
	}
	networks, err := pool.NewNetworks(cfg.PoolNetwork, nil)
	if err != nil {
		return nil, err
	}
	return container.Open(ctx, container.Options{
		Depot: cfg.Depot, Ports: ports, Networks: networks,
		GraceTime: cfg.GraceTime, OutputLimit: cfg.JobOutputLimit, Rootfs: cfg.Rootfs, Rlimits: cfg.Rlimits,
		DepotWait: depotWait, Log: log.Named("container"),
		Backend: func(ctx context.Context) (backend.Backend, error) { return openBackend(ctx, cfg, log, initCommand) },
	})
}

// DestroyAll destroys every container of a depot that no server serves.
func DestroyAll(ctx context.Context, cfg config.Config, log hclog.Logger, initCommand []string) error {
	if pool := oci.DepotPool(cfg.Depot); pool.IsValid() {
		cfg.PoolNetwork = pool
		// Without containers auto would take any backend, and leave what a killed server has left without one.
		if cfg.Backend == config.BackendAuto && container.DepotBackend(cfg.Depot) != process.Name {
			cfg.Backend = config.BackendOCI
		}
	}
	registry, err := OpenRegistry(ctx, cfg, log, initCommand)
	if err != nil {
		return err
	}
	defer registry.Close()
	return registry.DestroyAll(ctx)
}

// NewLogger makes the log of a configuration. The closer is the log file's.
func NewLogger(cfg config.Config, stderr io.Writer) (hclog.Logger, io.Closer, error) {
	out, closer := stderr, io.NopCloser(nil)
	if cfg.LogFile != "" {
		f, err := os.OpenFile(cfg.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("log file: %w", err)
		}
		out, closer = f, f
	}
	return hclog.New(&hclog.LoggerOptions{
		Name: "wardend", Level: hclog.LevelFromString(cfg.LogLevel), Output: out, JSONFormat: cfg.LogFormat == "json",
	}), closer, nil
}
