package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/applogs"
	"github.com/durable-dea/dea/starter/internal/render"
)

// completeTimeout is how long a user who pressed the tab key waits.
const completeTimeout = 2 * time.Second

// lister is a method of the client that lists something; beside an error it gives what could be had.
type lister[T any] func(*controller.Client, context.Context) ([]T, error)

func (s *session) completeApps() cobra.CompletionFunc {
	return completeFirst(s, (*controller.Client).Apps, func(a api.AppStatus) string { return a.AppID })
}

func (s *session) completeNodes() cobra.CompletionFunc {
	return completeFirst(s, (*controller.Client).Nodes, func(n api.NodeStatus) string { return n.Node })
}

// completeFirst offers the names of what there is as the first argument.
func completeFirst[T any](s *session, list lister[T], name func(T) string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		c, err := s.open(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, _ := list(c, ctx) // what could be had is better than nothing
		names := make([]string, 0, len(all))
		for _, one := range all {
			names = append(names, name(one))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeInstances offers the ids of the instances of the app that stands in the command line.
func (s *session) completeInstances(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	instances := func(c *controller.Client, ctx context.Context) ([]api.InstanceStatus, error) {
		return c.FindInstances(ctx, api.InstanceFilter{AppID: args[0]})
	}
	return completeFirst(s, instances, func(i api.InstanceStatus) string { return i.InstanceID })(cmd, nil, "")
}

// addCompletions offers what is known of flags' values, and files for those that name one and no other.
func addCompletions(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	files := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	words := func(list ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
	}
	states := make([]string, 0, len(api.InstanceStates()))
	for _, state := range api.InstanceStates() {
		states = append(states, strings.ToLower(string(state)))
	}
	known := map[string]cobra.CompletionFunc{
		"state":  words(states...),
		"output": words(string(render.Text), string(render.JSON)),
		"stream": words(allStreams, applogs.Stdout, applogs.Stderr),
		"config": files, "encryption-key-file": files, "file": files,
	}
	register := func(c *cobra.Command) func(*pflag.Flag) {
		return func(f *pflag.Flag) {
			if complete, ok := known[f.Name]; ok {
				if err := c.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
					panic(err) // a flag that is just visited exists, and has no completion yet
				}
			}
		}
	}
	root.PersistentFlags().VisitAll(register(root))
	for _, c := range root.Commands() {
		c.Flags().VisitAll(register(c))
	}
}

// completeSource offers the files and directories that may be pushed.
func completeSource(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// completeNothing keeps the shell from offering files.
func completeNothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}
