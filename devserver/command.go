package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/devserver/internal/ports"
	"github.com/durable-dea/dea/devserver/internal/stack"
)

const (
	exitFailed = 1
	exitUsage  = 2
	// stopTimeout is when a stop that hangs turns into a forced one.
	stopTimeout = 3 * time.Minute
)

const long = `Devserver runs Durable DEA on this machine: Temporal's server and UI, a codec server, NATS and a router, a cloud
controller's stand-in, and nodes that stage and run apps. It prints its addresses once all of it answers.

All ports are on 127.0.0.1, in a row from --port-base:

  +0 Temporal            +1 Temporal UI        +2 codec server      +3 cloud controller
  +4 router              +5 NATS               +6 Temporal HTTP      +7 to +9 Temporal's own services
  +20 and on             each node: its files, 9 kept, then --instance-ports for its instances

Ctrl-C ends all of it, containers included; twice ends it at once. With --data everything else is there again at the
next start: workflows, apps, packages and droplets. After a kill the containers are, too.`

// settings are what the flags say.
type settings struct {
	stack  stack.Options
	output string
}

// run is the whole program. It returns the exit status: 0 after a stop that was asked for, 1 when something failed, 2
// for wrong flags.
func run(args []string, stdout, stderr io.Writer) int {
	status := 0
	command := newCommand(func(ctx context.Context, s settings) error {
		s.stack.Progress = stderr
		return serve(ctx, s, stdout, stderr)
	}, &status)
	command.SetArgs(args)
	command.SetOut(stdout)
	command.SetErr(stderr)
	if err := command.ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(stderr, "devserver:", err)
		if status == 0 {
			return exitUsage
		}
	}
	return status
}

func newCommand(serve func(context.Context, settings) error, status *int) *cobra.Command {
	var s settings
	command := &cobra.Command{
		Use:           "devserver",
		Short:         "Durable DEA in one command",
		Long:          long,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		PreRunE:       func(*cobra.Command, []string) error { return s.complete() },
		RunE: func(command *cobra.Command, _ []string) error {
			err := serve(command.Context(), s)
			if err != nil {
				*status = exitFailed
			}
			return err
		},
	}
	s.addFlags(command)
	return command
}

func (s *settings) addFlags(command *cobra.Command) {
	flags, o := command.Flags(), &s.stack
	flags.StringVar(&o.Data, "data", "", "directory that keeps everything across restarts (default a temporary one)")
	flags.IntVar(&o.Nodes, "nodes", 1, "number of nodes, 0 for none")
	flags.IntVar(&o.PortBase, "port-base", ports.DefaultBase, "first of the ports, 0 for a free row")
	flags.IntVar(&o.InstancePorts, "instance-ports", ports.DefaultInstancePorts, "ports of each node for instances")
	flags.StringVarP(&s.output, "output", "o", "text", "form of the addresses: text or json")
	flags.StringVar(&o.Bin, "bin", "", "directory of worker, wardend, dea-runner and staticd (default this program's)")
	flags.StringVar(&o.Buildpacks, "buildpacks", "", "directory of the buildpacks (default buildpacks beside --bin)")
	flags.StringVar(&o.Backend, "backend", "auto", "wardend's backend: auto, oci or process")
	flags.StringVar(&o.RootFS, "rootfs", "", "directory of the root file system of containers, where the backend needs one")
	flags.StringVar(&o.Network, "network", "10.254.0.0/16", "network that containers take addresses from, a /22 each node")
	flags.StringVar(&o.Stack, "stack", "cflinuxfs3", "name of the stack that the nodes offer")
	flags.Int64Var(&o.MemoryMB, "memory-mb", 0, "memory that each node gives out (default the machine's, divided)")
	flags.Int64Var(&o.DiskMB, "disk-mb", 0, "disk that each node gives out (default what is free, divided)")
	flags.StringVar(&o.Metrics, "temporal-metrics", "", "host:port where Temporal's server shows its metrics (default nowhere)")
	flags.BoolVar(&o.Restart, "restart", true, "start a worker or wardend that died again")
	flags.StringVar(&o.LogLevel, "log-level", "info", "trace, debug, info, warn or error")
	flags.BoolVarP(&o.Verbose, "verbose", "v", false, "copy the nodes' logs to standard error")
}

// complete fills in the defaults that depend on others and refuses what cannot work.
func (s *settings) complete() error {
	o := &s.stack
	if o.Bin == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program's directory: %w: give --bin", err)
		}
		o.Bin = filepath.Dir(self)
	}
	if o.Buildpacks == "" {
		o.Buildpacks = filepath.Join(filepath.Dir(filepath.Clean(o.Bin)), "buildpacks")
	}
	for _, path := range []*string{&o.Bin, &o.Buildpacks, &o.RootFS} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("path %s: %w", *path, err)
		}
		*path = absolute
	}
	var wrong error
	if s.output != "text" && s.output != "json" {
		wrong = fmt.Errorf("there is no output %q: it is text or json", s.output)
	}
	return errors.Join(wrong, o.Validate())
}

// serve runs the stack until a signal comes. A second signal ends the program at once: the kernel then ends workers and
// wardends, and containers are left.
func serve(ctx context.Context, s settings, stdout, stderr io.Writer) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	defer close(ended)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go obey(signals, ended, cancel, stderr)
	// A Ctrl-C that ends `devserver 2>&1 | tee` ends its reader, too: that nobody reads must not end this process
	// before the containers. Taken and not ignored, since children would inherit that.
	unread := make(chan os.Signal, 1)
	signal.Notify(unread, syscall.SIGPIPE)
	defer signal.Stop(unread)

	running, err := stack.Start(ctx, s.stack)
	if errors.Is(context.Cause(ctx), errAsked) {
		// A start that was broken off has failed only if something of it was left.
		err = stack.Leftover(err)
	}
	if err != nil || running == nil {
		return err
	}
	err = s.print(running.Addresses(), stdout)
	if err == nil {
		<-ctx.Done()
	}
	stopping, stopped := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer stopped()
	return errors.Join(err, running.Stop(stopping))
}

// errAsked is why a run ends.
var errAsked = errors.New("asked to end by a signal")

// obey ends the run at the first signal and the program at the second.
func obey(signals <-chan os.Signal, ended <-chan struct{}, end context.CancelCauseFunc, stderr io.Writer) {
	select {
	case <-signals:
	case <-ended:
		return
	}
	fmt.Fprintln(stderr, "ending; once more ends at once and leaves containers behind")
	end(errAsked)
	select {
	case <-signals:
		os.Exit(exitFailed)
	case <-ended:
	}
}

func (s *settings) print(addresses stack.Addresses, out io.Writer) error {
	if s.output == "json" {
		return addresses.WriteJSON(out)
	}
	return addresses.WriteText(out)
}
