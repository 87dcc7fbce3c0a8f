package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/runner/internal/shell"
)

// Launcher runs the app of one container.
type Launcher struct {
	// Root is the container's root directory; empty in a container that has its own.
	Root string
	// Command is the start command; empty for the one in staging_info.yml.
	Command string
	// Stderr receives what went wrong before the app's own log is there.
	Stderr io.Writer
	// Grace is how long an app that is told to end may take, 0 for DefaultGrace; see the package's comment.
	Grace time.Duration
	// Limit bounds what the app may say; the zero value does not.
	Limit Limit
}

// DefaultGrace is as long as a Warden waits before it kills what it has told to end.
const DefaultGrace = 10 * time.Second

// script sets up the environment and becomes the command. A command that is more than one program stays a shell.
const script = shell.Profile + `exec "$BASH" -c "$0"`

// Run runs the app and gives its exit status: 128+n when signal n ended it. Signals are passed on as the package's
// comment says. When ctx ends the app's process group is killed.
func (l Launcher) Run(ctx context.Context, signals <-chan os.Signal) int {
	status, err := l.run(ctx, signals)
	if err != nil {
		l.explain(err)
	}
	l.write(runspec.PathExitStatus, strconv.Itoa(status)+"\n")
	return status
}

// errNoCommand: neither the message nor the droplet says what to run.
var errNoCommand = errors.New(runspec.WordsNoCommand)

func (l Launcher) run(ctx context.Context, signals <-chan os.Signal) (int, error) {
	unix.Umask(0o077)
	command, err := l.command()
	if errors.Is(err, errNoCommand) {
		return runspec.ExitMissingCommand, err
	}
	if err != nil {
		return runspec.ExitLaunch, fmt.Errorf("the droplet cannot be read: %w", err)
	}
	out, err := openOutput(l.path(runspec.PathStdout), l.path(runspec.PathStderr), l.Limit)
	if err != nil {
		return runspec.ExitLaunch, fmt.Errorf("the log files cannot be written: %w", err)
	}
	defer out.close()
	app, err := begin(command, l.path(runspec.PathInstanceApp), shell.Environment(l.Root, os.Environ()), out)
	if err != nil {
		return runspec.ExitLaunch, fmt.Errorf("the start command cannot be run: %w", err)
	}
	return app.await(ctx, signals, l.grace()), nil
}

func (l Launcher) grace() time.Duration {
	if l.Grace == 0 {
		return DefaultGrace
	}
	return l.Grace
}

// command is what to run.
func (l Launcher) command() (string, error) {
	if l.Command != "" {
		return l.Command, nil
	}
	data, err := os.ReadFile(l.path(runspec.PathInstanceInfo))
	if errors.Is(err, os.ErrNotExist) {
		return "", errNoCommand
	}
	if err != nil {
		return "", err
	}
	// Only what is needed: the rest of another stager's file may have another form.
	var info struct {
		StartCommand string `yaml:"start_command"`
	}
	if err := yaml.Unmarshal(data, &info); err != nil {
		return "", err
	}
	if info.StartCommand == "" {
		return "", errNoCommand
	}
	return info.StartCommand, nil
}

func (l Launcher) path(contract string) string { return runspec.Beneath(l.Root, contract) }

// explain says to the node and to the app's owner why there is no app.
func (l Launcher) explain(err error) {
	fmt.Fprintln(l.Stderr, "dea-runner launch:", err)
	l.write(runspec.PathLaunchFault, err.Error()+"\n")
	// A droplet may have brought a fifo along, which would keep the launcher from its end.
	f, _, openErr := openRegular(l.path(runspec.PathStderr), os.O_APPEND)
	if openErr != nil {
		return
	}
	defer f.Close()
	_, _ = fmt.Fprintln(f, err)
}

// write leaves a file for the node. A container whose user cannot write there has the exit status all the same.
func (l Launcher) write(contract, text string) {
	file := l.path(contract)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return
	}
	if err := runspec.WriteFile(file, []byte(text)); err != nil && !errors.Is(err, os.ErrPermission) {
		fmt.Fprintln(l.Stderr, "dea-runner launch:", err)
	}
}
