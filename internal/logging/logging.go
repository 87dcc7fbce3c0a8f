package logging

import (
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/config"
)

// New makes the logger of a process, named after it. Whoever calls it closes the closer when the process ends; it
// leaves standard error open. The file is appended to, so that a rotation that copies and truncates works; made with
// mode 0600, since a log tells much about apps.
func New(name string, cfg config.Logging) (hclog.Logger, io.Closer, error) {
	level := hclog.LevelFromString(cfg.Level)
	if level == hclog.NoLevel {
		return nil, nil, fmt.Errorf("unknown log level %q", cfg.Level)
	}
	var out io.Writer = os.Stderr
	var closer io.Closer = io.NopCloser(nil)
	if cfg.File != "" {
		f, err := os.OpenFile(cfg.File, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("open the log file: %w", err)
		}
		out, closer = f, f
	}
	return NewTo(out, name, level, cfg.Format == "json"), closer, nil
}

// NewTo makes a logger that writes to out; for programs that decide for themselves where to.
func NewTo(out io.Writer, name string, level hclog.Level, asJSON bool) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name:       name,
		Level:      level,
		Output:     out,
		JSONFormat: asJSON,
	})
}
