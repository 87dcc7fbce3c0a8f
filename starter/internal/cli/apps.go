package cli

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/render"
)

func (s *session) appsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "apps",
		Short: "List the apps",
		Long:  "Lists every app with its state, how many of its instances run of how many are wanted, and its routes.",
		Example: `  starter apps
  starter apps --output json | jq -r '.apps[].app_id'`,
		Args:              nothing(),
		ValidArgsFunction: completeNothing,
		RunE:              s.work(showAll(s, "apps", (*controller.Client).Apps, render.Renderer.Apps)),
	}
}

// showAll makes a command of a list. What could not be asked is told, and no reason to show nothing.
func showAll[T any](
	s *session, what string, list lister[T], show func(render.Renderer, []T) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		c, err := s.open(cmd.Context())
		if err != nil {
			return err
		}
		all, err := list(c, cmd.Context())
		if err != nil && len(all) == 0 {
			return err
		}
		if err != nil {
			s.report().Linef("(some %s are missing: %v)", what, err)
		}
		return show(s.render(), all)
	}
}

func (s *session) psCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ps NAME",
		Short: "Show an app's instances",
		Long: `Shows each instance of an app: its state and for how long it has it, its address, its node, what it uses of a
processor, memory and disk where that can be had soon, with the age of numbers that are older than half a minute, and, of
one that has crashed, why.`,
		Example: `  starter ps hello
  starter ps hello -o json | jq -r '.instances[].address'`,
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			c, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			app, err := c.App(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if s.format == render.JSON { // nobody reads it in the table
				nowServed(cmd.Context(), c, app.Instances)
			}
			return s.render().AppUsage(appUsage(cmd.Context(), c, app))
		}),
	}
}

// nowServed sets where the instances' files are served now. Each node is asked once.
func nowServed(ctx context.Context, c *controller.Client, instances []api.InstanceStatus) {
	asked := map[string]string{}
	for i := range instances {
		at := &instances[i]
		if _, ok := asked[at.Node]; !ok {
			asked[at.Node] = c.CurrentFilesURL(ctx, at.Node, "")
		}
		at.FilesURL = cmp.Or(asked[at.Node], at.FilesURL)
	}
}
