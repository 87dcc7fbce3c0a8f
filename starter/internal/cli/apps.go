package cli

import (
	"github.com/spf13/cobra"
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
		RunE: s.work(func(cmd *cobra.Command, _ []string) error {
			c, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			apps, err := c.Apps(cmd.Context())
			if err != nil && len(apps) == 0 {
				return err
			}
			if err != nil {
				s.report().Linef("(some apps are missing: %v)", err)
			}
			return s.render().Apps(apps)
		}),
	}
}

func (s *session) psCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ps NAME",
		Short: "Show an app's instances",
		Long: `Shows each instance of an app: its state and for how long it has it, its address, its node, and, of one that has
crashed, why.`,
		Example: `  starter ps hello
  starter ps hello -o json | jq -r '.instances[].address'`,
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps,
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			c, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			app, err := c.App(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return s.render().App(app)
		}),
	}
}
