package cli

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
)

// waiting is what commands have in common that change an app and wait for it.
type waiting struct {
	timeout time.Duration
	noWait  bool
}

func (w *waiting) flags(cmd *cobra.Command) {
	timeoutFlag(cmd, &w.timeout, "`time` to wait")
	cmd.Flags().BoolVar(&w.noWait, "no-wait", false, "return as soon as the platform knows")
}

// timeoutFlag adds --timeout. Its value is checked before the command begins, that nothing is done and then not waited
// for.
func timeoutFlag(cmd *cobra.Command, timeout *time.Duration, usage string) {
	cmd.Flags().DurationVar(timeout, "timeout", defaultTimeout, usage)
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *timeout <= 0 {
			return errors.New("--timeout must be above 0")
		}
		return nil
	}
}

func (s *session) startCommand() *cobra.Command {
	var w waiting
	instances := 1
	cmd := &cobra.Command{
		Use:   "start NAME",
		Short: "Start an app that was stopped",
		Long: `Starts an app that was stopped, as it was pushed last but with one instance unless --instances says another
number: the number that it had before is not kept. Waits until its instances run. An app that is not stopped stays at
its number of instances, unless --instances says another.`,
		Example: `  starter start hello
  starter start hello --instances 3`,
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps(),
	}
	cmd.RunE = s.work(func(cmd *cobra.Command, args []string) error {
		c, err := s.open(cmd.Context())
		if err != nil {
			return err
		}
		app, err := c.App(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if app.Desired == 0 || cmd.Flags().Changed("instances") {
			if app, err = c.Start(cmd.Context(), args[0], instances); err != nil {
				return err
			}
		}
		return s.settle(cmd, c, app, w)
	})
	cmd.Flags().IntVarP(&instances, "instances", "i", instances, "`number` of instances of an app that was stopped")
	w.flags(cmd)
	return cmd
}

func (s *session) stopCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "stop NAME",
		Short: "Stop an app and keep it",
		Long: `Stops all instances of an app and waits until they are gone. The app stays: "starter start" runs it again. How
many instances it had is told and not kept: give the number to "starter start --instances".`,
		Example: `  starter stop hello
  starter stop hello --no-wait`,
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			c, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			before, err := c.App(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			app, err := c.Stop(cmd.Context(), args[0])
			if err == nil && before.Desired > 1 {
				s.report().Linef("`starter start %s --instances %d` brings back as many as it had", args[0], before.Desired)
			}
			if err == nil && !w.noWait {
				app, err = s.watcher(c).Stopped(cmd.Context(), args[0], w.timeout)
			}
			return s.answerApp(app, err)
		}),
	}
	w.flags(cmd)
	return cmd
}

func (s *session) scaleCommand() *cobra.Command {
	var w waiting
	instances := 0
	cmd := &cobra.Command{
		Use:   "scale NAME INSTANCES",
		Short: "Change an app's number of instances",
		Long: fmt.Sprintf(`Changes how many instances an app has, from 0 to %d, and waits until as many run. The number may be given by
--instances too.`, api.MaxInstances),
		Example: `  starter scale hello 3
  starter scale hello --instances 3 --output json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("instances") {
				return named("NAME")(cmd, args)
			}
			return named("NAME", "INSTANCES")(cmd, args)
		},
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				n, err := strconv.Atoi(args[1])
				if err != nil {
					return usageError{fmt.Errorf("%q is no number of instances", args[1])}
				}
				instances = n
			}
			c, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			app, err := c.Scale(cmd.Context(), args[0], instances)
			if err != nil {
				return err
			}
			return s.settle(cmd, c, app, w)
		}),
	}
	cmd.Flags().IntVarP(&instances, "instances", "i", instances, "`number` of instances")
	w.flags(cmd)
	return cmd
}

func (s *session) restartCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "restart NAME",
		Short: "Stop an app's instances and start as many anew",
		Long: `Stops all instances of an app, waits until they are gone, and starts as many again. Meanwhile the app does not
answer. An interrupt in between leaves it stopped; the command that brings it back is told.`,
		Example:           "  starter restart hello",
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			c, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			return s.restart(cmd, c, args[0], w)
		}),
	}
	w.flags(cmd)
	cmd.Flags().Lookup("no-wait").Usage = "do not wait for the new instances"
	return cmd
}

func (s *session) restart(cmd *cobra.Command, c *controller.Client, name string, w waiting) error {
	app, err := c.App(cmd.Context(), name)
	if err != nil {
		return err
	}
	wanted := app.Desired
	if wanted == 0 {
		return usageError{fmt.Errorf("%s is stopped; `starter start %s` starts it", name, name)}
	}
	if _, err := c.Stop(cmd.Context(), name); err != nil {
		return err
	}
	if now, err := s.watcher(c).Stopped(cmd.Context(), name, w.timeout); err != nil {
		if now.Desired > 0 {
			return err
		}
		s.report().Linef("%s is stopped; `starter start %s --instances %d` starts it", name, name, wanted)
		return err
	}
	if app, err = c.Start(cmd.Context(), name, wanted); err != nil {
		return err
	}
	return s.settle(cmd, c, app, w)
}

// settle waits until an app is as wanted and shows it.
func (s *session) settle(cmd *cobra.Command, c *controller.Client, app api.AppStatus, w waiting) error {
	if w.noWait {
		return s.render().App(app)
	}
	app, err := s.watcher(c).Reached(cmd.Context(), app.AppID, w.timeout)
	return s.answerApp(app, err)
}

// answerApp shows an app, or keeps it for the answer of a command that failed.
func (s *session) answerApp(app api.AppStatus, err error) error {
	if err != nil {
		if app.AppID != "" {
			s.partial = app
		}
		return err
	}
	return s.render().App(app)
}

// none tells whether an error says that an app is not there.
func none(err error) bool { return errors.Is(err, controller.ErrNoSuchApp) }
