package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/starter/internal/push"
)

const (
	defaultMemoryMB = 256
	defaultDiskMB   = 1024
	// defaultTimeout is how long instances may take to be as wanted; three health checks of the default length fit.
	defaultTimeout = 5 * time.Minute
)

func (s *session) pushCommand() *cobra.Command {
	o := push.Options{Instances: 1, Memory: defaultMemoryMB, Disk: defaultDiskMB}
	cmd := &cobra.Command{
		Use:   "push DIR|ZIP --name NAME",
		Short: "Upload an app, stage it and run it",
		Long: `Packs a directory (or takes a zip), uploads it, stages it with a buildpack while the staging's log is shown, runs
the droplet, and waits until all wanted instances run. The answer is a table of them, with their addresses.

One --buildpack builds the app. Of several all run, in the order given: each but the last supplies what the app needs,
and the last one builds it. A buildpack of somebody's own is named by the URL of its git repository (https, http, ssh, git or
file, or user@host:path), which #branch, #tag or #commit may follow.

Left out of the package are .git and the like, and what .cfignore names (the rules of .gitignore). Executable bits and
links are kept.

Pushing an app that runs replaces it by the new version. An interrupt cancels the staging; once the app is running, it
goes on. When an instance crashes, its last lines are shown and the exit code is 4.

` + logOnTerminal,
		Example: `  starter push ./app --name hello
  starter push app.zip --name hello --instances 2 --memory 128M --env LOG_LEVEL=debug
  starter push ./worker --name worker --no-route --command "./worker -v"
  starter push ./app --name hello --buildpack go --output json
  starter push ./app --name hello -b nodejs -b https://git.example.com/my-buildpack.git#v2`,
		Args:              named("DIR|ZIP"),
		ValidArgsFunction: completeSource,
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			o.Source = args[0]
			if err := o.Validate(); err != nil {
				return err
			}
			return s.push(cmd, o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "", "the app's `name`, and the first part of its route; required")
	f.IntVarP(&o.Instances, "instances", "i", o.Instances, "`number` of instances")
	f.VarP(&o.Memory, "memory", "m", "memory of an instance, such as 256M")
	f.VarP(&o.Disk, "disk", "k", "disk space of an instance, such as 1G")
	f.StringArrayVarP(&o.Buildpacks, "buildpack", "b", nil,
		"`name` of a buildpack, its key or a git URL; may be given several times, and without it the app is detected")
	f.StringArrayVarP(&o.Env, "env", "e", nil, "a `NAME=VALUE` for the app; may be given several times")
	f.StringArrayVar(&o.Drains, "drain", nil,
		"`URL` of a syslog server to send the app's log to, such as syslog-tls://host:port; may be given several times")
	f.StringVarP(&o.Command, "command", "c", "", "start `command`, instead of the Procfile's or the buildpack's")
	f.BoolVar(&o.NoRoute, "no-route", false, "the app has no route and need not listen on $PORT")
	f.StringVar(&o.Domain, "domain", push.DefaultDomain, "`domain` of the route")
	f.StringVar(&o.Stack, "stack", "", "root file system to use; without it the only one that the nodes have")
	f.DurationVar(&o.HealthCheckTimeout, "health-check-timeout", 0, "`time` to open the port in; without it the node's default")
	timeoutFlag(cmd, &o.Timeout, "`time` to wait for the instances")
	return cmd
}

func (s *session) push(cmd *cobra.Command, o push.Options) error {
	p, err := s.pusher(cmd.Context())
	if err != nil {
		return err
	}
	out, err := p.Push(cmd.Context(), o)
	if err != nil {
		if out.App != nil || out.Staging != nil {
			s.partial = out
		}
		return err
	}
	return s.render().Pushed(out, *out.App)
}
