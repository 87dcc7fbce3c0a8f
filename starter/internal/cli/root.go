package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/config"
)

const rootLong = `starter pushes apps to Durable DEA, keeps them at a number of instances, and shows what they and the
nodes do. Everything it starts is a workflow that goes on whatever becomes of this program.

It finds the platform through a configuration file (--config, DEA_CONFIG, else dea/client.yml in the user's
configuration directory); devserver writes one and prints where it is.

A command's answer goes to standard output, as text or, with --output json, as one JSON object; progress and errors go
to standard error. With --output json a command that fails answers {"error": {...}} and what it came to.

Exit codes:
`

// newRoot makes the whole tree of commands.
func newRoot(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:   "starter",
		Short: "Push apps to Durable DEA and look after them",
		Long:  rootLong + exitCodes(),
		Example: "  starter push ./app --name hello --instances 2\n" +
			"  starter apps\n" +
			"  starter logs hello -f",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	s.root = root
	// Before the completion command is made: it keeps the stream that it finds.
	root.SetIn(s.process.In)
	root.SetOut(s.process.Out)
	root.SetErr(s.process.Err)
	config.ClientFlags(root.PersistentFlags())
	root.PersistentFlags().VarP(&s.format, "output", "o", "how to answer")
	root.PersistentFlags().BoolVar(&s.debug, "debug", false, "write what Temporal's client logs to standard error")
	root.AddGroup(
		&cobra.Group{ID: groupApps, Title: "Apps:"},
		&cobra.Group{ID: groupInstances, Title: "Instances:"},
		&cobra.Group{ID: groupNodes, Title: "Nodes:"},
		&cobra.Group{ID: groupPlatform, Title: "Platform:"},
	)
	for _, c := range []*cobra.Command{
		s.pushCommand(), s.appsCommand(), s.psCommand(), s.logsCommand(), s.startCommand(), s.stopCommand(),
		s.restartCommand(), s.scaleCommand(), s.routesCommand(), s.followCommand(), s.deleteCommand(), s.stageCommand(),
	} {
		c.GroupID = groupApps
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{
		s.instancesCommand(), s.startInstanceCommand(), s.stopInstancesCommand(), s.execCommand(), s.filesCommand(),
	} {
		c.GroupID = groupInstances
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{s.nodesCommand(), s.drainCommand(), s.undrainCommand(), s.evacuateCommand(), s.forgetCommand()} {
		c.GroupID = groupNodes
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{s.setupCommand(), s.versionCommand()} {
		c.GroupID = groupPlatform
		root.AddCommand(c)
	}
	addOwnCommands(root)
	addCompletions(root)
	return root
}

const (
	groupApps      = "apps"
	groupInstances = "instances"
	groupNodes     = "nodes"
	groupPlatform  = "platform"
)

// addOwnCommands adds cobra's help and completion, and gives them examples as all others have them.
func addOwnCommands(root *cobra.Command) {
	root.SetHelpCommandGroupID(groupPlatform)
	root.SetCompletionCommandGroupID(groupPlatform)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Example = "  starter help push"
			// Cobra's own answers an unknown name with the whole help and as if all were well.
			c.Args = func(_ *cobra.Command, args []string) error {
				_, _, err := root.Find(args)
				return err
			}
		case "completion":
			c.Args = func(_ *cobra.Command, args []string) error {
				if len(args) > 0 {
					return fmt.Errorf("there are no completions for %q", args[0])
				}
				return nil
			}
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			c.Example = "  source <(starter completion bash)"
			for _, shell := range c.Commands() {
				shell.Example = fmt.Sprintf("  starter completion %s > starter.%[1]s", shell.Name())
			}
		}
	}
}

// work wraps a command's own part: what fails before it is wrong usage.
func (s *session) work(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s.ran = true
		return run(cmd, args)
	}
}

// named takes exactly the arguments that are named.
func named(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return notBlank(names, args)
		}
		return fmt.Errorf("it is used as %s %s", cmd.CommandPath(), strings.Join(names, " "))
	}
}

// notBlank refuses arguments that name nothing, as a variable of a script does that is not set.
func notBlank(names, args []string) error {
	for n, arg := range args {
		if strings.TrimSpace(arg) == "" {
			return fmt.Errorf("%s is blank", names[n])
		}
	}
	return nil
}

// nothing takes no arguments.
func nothing() cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return fmt.Errorf("%s takes no arguments", cmd.CommandPath())
	}
}
