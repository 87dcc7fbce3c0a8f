package cli

import (
	"errors"
	"io"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"github.com/durable-dea/dea/wardend/internal/app"
	"github.com/durable-dea/dea/wardend/internal/config"
)

// run is what a command works with.
type run struct {
	cfg config.Config
	log hclog.Logger
	// init is the command that makes this program a container's init.
	init []string
}

func withConfig(set *pflag.FlagSet, f *flags, stderr io.Writer, do func(run) error) error {
	cfg := config.Default()
	if f.file != "" {
		if err := cfg.LoadFile(f.file); err != nil {
			return err
		}
	}
	if err := errors.Join(f.apply(set, &cfg), cfg.Validate()); err != nil {
		return err
	}
	log, closer, err := app.NewLogger(cfg, stderr)
	if err != nil {
		return err
	}
	defer func() { _ = closer.Close() }()
	// Not its path: there may be a newer release by now, whose init this wardend might not know.
	return do(run{cfg: cfg, log: log, init: []string{"/proc/self/exe", InitCommand}})
}
