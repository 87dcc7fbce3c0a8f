package temporal

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	server "go.temporal.io/server/temporal"
)

// Options say where the server keeps its data and where it listens.
type Options struct {
	// File is the SQLite database; it is made if it is not there. Required.
	File string
	// LogFile takes what the server says, as JSON lines. Required.
	LogFile string
	// LogLevel is debug, info, warn or error; empty means warn.
	LogLevel string
	Ports    Ports
	// Metrics is host:port where the server shows its metrics, in Prometheus' form; empty for nowhere.
	Metrics string
	// SearchAttributes are registered with the namespace when the database is made.
	SearchAttributes []temporal.SearchAttributeKey
}

// Server is a running server.
type Server struct {
	server server.Server
	ports  Ports
}

// Start makes the database if need be and starts all services. It returns when they have started, which is before they
// answer: ask WaitReady. The caller stops what was started.
func Start(options Options) (*Server, error) {
	if options.File == "" || options.LogFile == "" {
		return nil, errors.New("temporal: File and LogFile are required")
	}
	if err := prepare(options.File, options.SearchAttributes); err != nil {
		return nil, fmt.Errorf("prepare the database %s: %w", options.File, err)
	}
	dynamic, err := dynamicConfig()
	if err != nil {
		return nil, err
	}
	made, err := server.NewServer(
		server.WithConfig(serverConfig(options)),
		server.ForServices(server.DefaultServices),
		server.WithStaticHosts(options.Ports.hosts()),
		server.WithLogger(logger(options)),
		// Everything listens on the loopback address, for the user of this machine.
		server.WithAuthorizer(authorization.NewNoopAuthorizer()),
		server.WithClaimMapper(func(*config.Config) authorization.ClaimMapper {
			return authorization.NewNoopClaimMapper()
		}),
		server.WithDynamicConfigClient(dynamic),
	)
	if err != nil {
		return nil, fmt.Errorf("make the Temporal server: %w", err)
	}
	if err := made.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the Temporal server: %w", err), made.Stop())
	}
	return &Server{server: made, ports: options.Ports}, nil
}

// Address is where clients connect: host:port.
func (s *Server) Address() string { return address(s.ports.Frontend) }

// Stop ends all services. Workflows stay in the file.
func (s *Server) Stop() error { return s.server.Stop() }

func logger(options Options) log.Logger {
	level := options.LogLevel
	if level == "" {
		level = "warn"
	}
	return log.NewZapLogger(log.BuildZapLogger(log.Config{Level: level, OutputFile: options.LogFile, Format: "json"}))
}
