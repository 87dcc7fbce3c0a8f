package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/backend/oci"
	"github.com/durable-dea/dea/wardend/internal/backend/process"
	"github.com/durable-dea/dea/wardend/internal/config"
	"github.com/durable-dea/dea/wardend/internal/container"
)

// openBackend opens the backend that the configuration asks for.
func openBackend(ctx context.Context, cfg config.Config, log hclog.Logger, initCommand []string) (backend.Backend, error) {
	switch cfg.Backend {
	case config.BackendOCI:
		return openOCI(ctx, cfg, log)
	case config.BackendProcess:
		return openProcess(log, initCommand, "--backend process was asked for"), nil
	case config.BackendAuto:
		return chooseBackend(ctx, cfg, log, initCommand)
	default:
		return nil, fmt.Errorf("backend %q is not known", cfg.Backend)
	}
}

// chooseBackend takes the one that the depot's containers belong to; for an empty depot oci where it works, else process.
func chooseBackend(ctx context.Context, cfg config.Config, log hclog.Logger, initCommand []string) (backend.Backend, error) {
	switch container.DepotBackend(cfg.Depot) {
	case oci.Name:
		return openOCI(ctx, cfg, log)
	case process.Name:
		return openProcess(log, initCommand, "the depot's containers are of the process backend"), nil
	}
	if cfg.Rootfs == "" {
		return openProcess(log, initCommand, `there is no --rootfs for real containers ("wardend rootfs host DIR" makes one)`), nil
	}
	b, err := openOCI(ctx, cfg, log)
	if errors.Is(err, oci.ErrUnusable) {
		return openProcess(log, initCommand, err.Error()), nil
	}
	return b, err
}

func openProcess(log hclog.Logger, initCommand []string, reason string) backend.Backend {
	log.Warn("CONTAINERS ARE NOT ISOLATED: the process backend runs jobs as this user, without limits", "reason", reason)
	return process.New(log.Named("process"), initCommand)
}

func openOCI(ctx context.Context, cfg config.Config, log hclog.Logger) (backend.Backend, error) {
	depot, err := filepath.Abs(cfg.Depot)
	if err != nil {
		return nil, fmt.Errorf("depot: %w", err)
	}
	b, err := oci.Open(ctx, oci.Options{
		Depot: depot, Instance: cfg.Name, Runtime: cfg.Runtime, Pool: cfg.PoolNetwork,
		PortStart: cfg.PortStart, PortSize: cfg.PortSize, Allow: cfg.AllowNetworks, Deny: cfg.DenyNetworks,
		Scratch: cfg.Scratch, ScratchSize: cfg.ScratchSize, PidsLimit: cfg.PidsLimit, Log: log.Named("oci"),
	})
	if err != nil {
		return nil, fmt.Errorf("backend oci: %w", err)
	}
	return b, nil
}
