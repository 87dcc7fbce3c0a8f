// Dea-runner is what works inside containers: it stages apps, unpacks droplets and runs start commands. It is one
// static program, mounted into every container; its contract is package runspec.
//
//	dea-runner stage  --root DIR                  once in a staging container
//	dea-runner unpack --root DIR                  before the app of an instance's container starts
//	dea-runner launch --root DIR [--command CMD] [--grace TIME] [--log-rate N] [--log-burst N]
//	                                              for as long as the app lives
//	dea-runner session --root DIR --name NAME     a command for somebody elsewhere, beside the app
//
// The exit statuses stand in package runspec, too.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/runner/internal/launch"
	"github.com/durable-dea/dea/runner/internal/session"
	"github.com/durable-dea/dea/runner/internal/stage"
	"github.com/durable-dea/dea/runner/internal/unpack"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

const usage = `Usage:
  dea-runner stage  --root DIR
  dea-runner unpack --root DIR
  dea-runner launch --root DIR [--command CMD] [--grace TIME] [--log-rate N] [--log-burst N]
  dea-runner session --root DIR --name NAME

Flags:
`

type options struct {
	root, command string
	name          string
	grace         time.Duration
	limit         launch.Limit
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := pflag.NewFlagSet("dea-runner", pflag.ContinueOnError)
	flags.StringVar(&o.root, "root", "", "the container's root directory; empty when it is /")
	flags.StringVar(&o.command, "command", "", "launch: the start command, instead of the droplet's")
	flags.DurationVar(&o.grace, "grace", launch.DefaultGrace, "launch: how long an app that is told to end may take")
	flags.Int64Var(&o.limit.Rate, "log-rate", launch.DefaultLimit.Rate,
		"launch: bytes a second that the app may say to each of stdout and stderr; 0 for no limit")
	flags.Int64Var(&o.limit.Burst, "log-burst", launch.DefaultLimit.Burst, "launch: bytes that it may say at once; 64 KiB at least")
	flags.StringVar(&o.name, "name", "", "session: the directory that it makes for its socket")
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, usage, flags.FlagUsages())
		return runspec.ExitOK
	}
	verbs := map[string]func(options, io.Writer) int{"stage": runStage, "unpack": runUnpack, "launch": runLaunch, "session": runSession}
	verb, known := verbs[flags.Arg(0)]
	if err == nil && (!known || flags.NArg() != 1) {
		err = fmt.Errorf("want one of stage, unpack, launch and session, got %q", flags.Args())
	}
	if err != nil {
		fmt.Fprintf(stderr, "dea-runner: %v\n\n%s%s", err, usage, flags.FlagUsages())
		return runspec.ExitUsage
	}
	return verb(o, stderr)
}

func runStage(o options, stderr io.Writer) int {
	outliveFileLimit()
	ctx, stop := untilSignal(stage.ErrStopped)
	defer stop()
	return stage.Stager{Root: o.root, Stderr: stderr}.Run(ctx)
}

// outliveFileLimit makes a file that grows over its limit an error of a write, and no end of the program. The signal is
// heard and not ignored: what is ignored stays so in the programs that are started.
func outliveFileLimit() { signal.Notify(make(chan os.Signal, 1), unix.SIGXFSZ) }

func runUnpack(o options, stderr io.Writer) int {
	ctx, stop := untilSignal(errors.New("the unpacking was stopped"))
	defer stop()
	return unpack.Unpacker{Root: o.root, Stderr: stderr}.Run(ctx)
}

func runLaunch(o options, stderr io.Writer) int {
	outliveFileLimit()
	// Launch itself ends with the app, whatever it is told.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)
	launcher := launch.Launcher{Root: o.root, Command: o.command, Stderr: stderr, Grace: o.grace, Limit: o.limit}
	return launcher.Run(context.Background(), signals)
}

func runSession(o options, stderr io.Writer) int {
	outliveFileLimit()
	ctx, stop := untilSignal(errors.New("the session was stopped"))
	defer stop()
	return session.Session{Root: o.root, Name: o.name, Stderr: stderr}.Run(ctx)
}

// untilSignal gives a context that ends with the cause when the process is told to end.
func untilSignal(cause error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	go func() {
		select {
		case <-signals:
			cancel(cause)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
