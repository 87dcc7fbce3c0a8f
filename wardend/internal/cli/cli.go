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
		Example: `  wardend --socket /run/wardend.sock --depot /var/lib/wardend/depot --rootfs /var/lib/wardend/rootfs
  wardend --config /etc/warden.yml --log-level debug
  wardend destroy-all --depot /var/lib/wardend/depot`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd, &f, stderr) },
	}
	f.addAll(root.Flags())
	root.AddCommand(newDestroyAll(stderr), newRootfs(stderr), newInit())
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
	file, mode, network, ports, size string
	allow, deny                      []string
	cfg                              config.Config
}

func (f *flags) addDepot(set *pflag.FlagSet) {
	d := config.Default()
	set.StringVar(&f.file, "config", "", "configuration `FILE`, with the names of the original's warden.yml")
	set.StringVar(&f.cfg.Depot, "depot", d.Depot, "`DIR` that containers lie in")
	set.StringVar(&f.cfg.Backend, "backend", d.Backend, "kind of containers: auto, oci or process")
	set.StringVar(&f.cfg.Name, "name", d.Name, "`NAME` that tells the wardends of one machine apart, 1 to 8 of a-z and 0-9 (default: made of the depot's path)")
	set.StringVar(&f.cfg.Runtime, "runtime", d.Runtime, "OCI runtime of the oci backend (default: the first of crun and runc that works)")
	set.StringVar(&f.network, "pool-network", d.PoolNetwork.String(), "`CIDR` that the containers' networks are cut from")
	set.StringVar(&f.cfg.Scratch, "scratch", d.Scratch, "how disk limits are kept: auto, quota, btrfs or image")
	set.StringVar(&f.cfg.LogLevel, "log-level", d.LogLevel, "debug, info, warn or error")
	set.StringVar(&f.cfg.LogFormat, "log-format", d.LogFormat, "text or json")
}

func (f *flags) addAll(set *pflag.FlagSet) {
	f.addDepot(set)
	d := config.Default()
	set.StringVar(&f.cfg.Socket, "socket", d.Socket, "unix socket to serve at")
	set.StringVar(&f.mode, "socket-mode", fmt.Sprintf("%04o", d.SocketMode), "the socket's permissions, octal")
	set.StringVar(&f.cfg.Rootfs, "rootfs", d.Rootfs, "root `DIR`, or DIR:DIR:... with the top one first, of containers that are made without one")
	set.StringVar(&f.size, "scratch-size", "", "`SIZE` of the file that containers write to where it takes one, as 200G (default: most of what the depot's file system has free)")
	set.StringVar(&f.cfg.SocketGroup, "socket-group", d.SocketGroup, "`GROUP` that may connect to the socket too, by name or number")
	set.Uint64Var(&f.cfg.PidsLimit, "pids-limit", d.PidsLimit, "processes and threads that a container's jobs may have; 0 for no limit")
	set.StringSliceVar(&f.allow, "allow-network", nil, "`CIDR`s outside that containers reach in spite of --deny-network")
	set.StringSliceVar(&f.deny, "deny-network", nil, "`CIDR`s outside that containers do not reach")
	set.StringVar(&f.ports, "port-pool", "", "ports for NetIn, `START:SIZE` (default: above the kernel's own range)")
	set.Uint32Var(&f.cfg.GraceTime, "grace-time", d.GraceTime, "`SECONDS` that a container stays when no connection refers to it")
	set.Int64Var(&f.cfg.JobOutputLimit, "job-output-limit", d.JobOutputLimit, "`BYTES` of output that a job may have")
}

// apply puts the flags that were given over the configuration.
func (f *flags) apply(set *pflag.FlagSet, c *config.Config) error {
	given := f.cfg
	simple := map[string]func(){
		"socket":           func() { c.Socket = given.Socket },
		"socket-group":     func() { c.SocketGroup = given.SocketGroup },
		"depot":            func() { c.Depot = given.Depot },
		"name":             func() { c.Name = given.Name },
		"backend":          func() { c.Backend = given.Backend },
		"runtime":          func() { c.Runtime = given.Runtime },
		"rootfs":           func() { c.Rootfs = given.Rootfs },
		"scratch":          func() { c.Scratch = given.Scratch },
		"pids-limit":       func() { c.PidsLimit = given.PidsLimit },
		"grace-time":       func() { c.GraceTime = given.GraceTime },
		"job-output-limit": func() { c.JobOutputLimit = given.JobOutputLimit },
		"log-level":        func() { c.LogLevel = given.LogLevel },
		"log-format":       func() { c.LogFormat = given.LogFormat },
	}
	parsed := map[string]func() error{
		"socket-mode":   func() (err error) { c.SocketMode, err = config.ParseMode(f.mode); return err },
		"scratch-size":  func() (err error) { c.ScratchSize, err = config.ParseSize(f.size); return err },
		"pool-network":  func() (err error) { c.PoolNetwork, err = netip.ParsePrefix(f.network); return err },
		"port-pool":     func() (err error) { c.PortStart, c.PortSize, err = config.ParsePortPool(f.ports); return err },
		"allow-network": func() (err error) { c.AllowNetworks, err = config.ParseNetworks(f.allow); return err },
		"deny-network":  func() (err error) { c.DenyNetworks, err = config.ParseNetworks(f.deny); return err },
	}
	var errs []error
	set.Visit(func(flag *pflag.Flag) {
		if apply := simple[flag.Name]; apply != nil {
			apply()
		}
		if parse := parsed[flag.Name]; parse != nil {
			if err := parse(); err != nil {
				errs = append(errs, fmt.Errorf("--%s: %w", flag.Name, err))
			}
		}
	})
	return errors.Join(errs...)
}
