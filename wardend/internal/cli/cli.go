package cli

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/app"
	"github.com/durable-dea/dea/wardend/internal/config"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

// InitCommand is the argument that makes wardend a container's init. Only wardend itself gives it.
const InitCommand = "init"

// New makes the command. Stderr gets the log.
func New(stderr io.Writer) *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use:   "wardend",
		Short: "A Warden server: containers behind a unix socket",
		Long: `wardend makes containers and runs jobs in them, in the protocol of Cloud Foundry's Warden.

Containers outlive it: TERM, INT and USR2 end the server only, and so does its death; the next wardend with the same
depot finds containers, jobs, ports and exit statuses again. USR2 (drain) lets running requests end, however long they
take. To end the containers, destroy them, or use "wardend destroy-all".

Flags win over the configuration file, whose names are those of the original's warden.yml.`,
		Example: `  wardend --socket /run/wardend.sock --depot /var/lib/wardend/depot
  wardend --config /etc/warden.yml --log-level debug
  wardend destroy-all --depot /var/lib/wardend/depot`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd, &f, stderr) },
	}
	f.addAll(root.Flags())
	root.AddCommand(newDestroyAll(stderr), newInit())
	return root
}

func newDestroyAll(stderr io.Writer) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "destroy-all",
		Short: "Destroy every container of a depot that no wardend is serving",
		Long: `Ends all processes of all containers of the depot and removes what the containers have. It waits a few seconds for a
wardend that is just ending, and refuses a depot that is being served.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withConfig(cmd.Flags(), &f, stderr, func(r run) error {
				return app.DestroyAll(cmd.Context(), r.cfg, r.log, r.init)
			})
		},
	}
	f.addDepot(cmd.Flags())
	return cmd
}

// newInit is there for who looks for it: main has taken the command before.
func newInit() *cobra.Command {
	return &cobra.Command{
		Use: InitCommand, Short: "Be the init of a container; wardend starts it itself", Hidden: true, SilenceUsage: true, SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error { return errors.New("init is started by wardend alone") },
	}
}

func serve(cmd *cobra.Command, f *flags, stderr io.Writer) error {
	if err := initproc.CloseOnExec(); err != nil {
		return err
	}
	drain, end := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(drain, unix.SIGUSR2)
	signal.Notify(end, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(drain)
	defer signal.Stop(end)
	return withConfig(cmd.Flags(), f, stderr, func(r run) error {
		return app.Serve(cmd.Context(), r.cfg, r.log, r.init, app.Signals{Drain: drain, End: end}, func() {})
	})
}

// flags are the command line's values; which of them count, the flag set knows.
type flags struct {
	file, mode, network, ports string
	cfg                        config.Config
}

func (f *flags) addDepot(set *pflag.FlagSet) {
	d := config.Default()
	set.StringVar(&f.file, "config", "", "configuration `FILE`, with the names of the original's warden.yml")
	set.StringVar(&f.cfg.Depot, "depot", d.Depot, "`DIR` that containers lie in")
	set.StringVar(&f.cfg.Backend, "backend", d.Backend, "kind of containers: auto, oci or process")
	set.StringVar(&f.cfg.LogLevel, "log-level", d.LogLevel, "debug, info, warn or error")
	set.StringVar(&f.cfg.LogFormat, "log-format", d.LogFormat, "text or json")
}

func (f *flags) addAll(set *pflag.FlagSet) {
	f.addDepot(set)
	d := config.Default()
	set.StringVar(&f.cfg.Socket, "socket", d.Socket, "unix socket to serve at")
	set.StringVar(&f.mode, "socket-mode", fmt.Sprintf("%04o", d.SocketMode), "the socket's permissions, octal")
	set.StringVar(&f.cfg.Runtime, "runtime", d.Runtime, "OCI runtime for the oci backend")
	set.StringVar(&f.cfg.Rootfs, "rootfs", d.Rootfs, "root `DIR` of containers that are made without one")
	set.StringVar(&f.network, "pool-network", d.PoolNetwork.String(), "`CIDR` that the containers' networks are cut from")
	set.StringVar(&f.ports, "port-pool", "", "ports for NetIn, `START:SIZE` (default: above the kernel's own range)")
	set.Uint32Var(&f.cfg.GraceTime, "grace-time", d.GraceTime, "`SECONDS` that a container stays when no connection refers to it")
	set.Int64Var(&f.cfg.JobOutputLimit, "job-output-limit", d.JobOutputLimit, "`BYTES` of output that a job may have")
}

// apply puts the flags that were given over the configuration.
func (f *flags) apply(set *pflag.FlagSet, c *config.Config) error {
	var errs []error
	set.Visit(func(flag *pflag.Flag) {
		var err error
		switch flag.Name {
		case "socket":
			c.Socket = f.cfg.Socket
		case "socket-mode":
			c.SocketMode, err = config.ParseMode(f.mode)
		case "depot":
			c.Depot = f.cfg.Depot
		case "backend":
			c.Backend = f.cfg.Backend
		case "runtime":
			c.Runtime = f.cfg.Runtime
		case "rootfs":
			c.Rootfs = f.cfg.Rootfs
		case "pool-network":
			c.PoolNetwork, err = netip.ParsePrefix(f.network)
		case "port-pool":
			c.PortStart, c.PortSize, err = config.ParsePortPool(f.ports)
		case "grace-time":
			c.GraceTime = f.cfg.GraceTime
		case "job-output-limit":
			c.JobOutputLimit = f.cfg.JobOutputLimit
		case "log-level":
			c.LogLevel = f.cfg.LogLevel
		case "log-format":
			c.LogFormat = f.cfg.LogFormat
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag.Name, err))
		}
	})
	return errors.Join(errs...)
}
