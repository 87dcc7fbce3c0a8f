package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
)

// choice are the flags that choose instances of an app.
type choice struct {
	version   string
	instances []string
	indices   []int
	states    []string
}

// choiceFlags adds the flags of a choice to a command whose argument is an app.
func (s *session) choiceFlags(cmd *cobra.Command, c *choice) {
	f := cmd.Flags()
	f.StringVar(&c.version, "version", "", "only those of an app's `version`")
	f.StringSliceVar(&c.instances, "instance", nil, "only the instance of this `id`; may be given several times")
	f.IntSliceVar(&c.indices, "index", nil, "only those with this `number`; may be given several times")
	f.StringSliceVar(&c.states, "state", nil, "only those in this `state`; may be given several times")
	if err := cmd.RegisterFlagCompletionFunc("instance", s.completeInstances); err != nil {
		panic(err) // the flag was made above
	}
}

// filter is checked before the platform is looked for: what is wrong with it is wrong usage. So is a flag that is blank, as a
// variable of a script is that is not set: without it others would be chosen.
func (c *choice) filter(flags *pflag.FlagSet, app string) (api.InstanceFilter, error) {
	for _, name := range []string{"version", "instance", "index", "state"} {
		if flag := flags.Lookup(name); flag.Changed && strings.Trim(flag.Value.String(), "[] ") == "" {
			return api.InstanceFilter{}, usageError{fmt.Errorf("--%s is blank", name)}
		}
	}
	filter := api.InstanceFilter{AppID: app, Version: c.version, InstanceIDs: c.instances, Indices: c.indices}
	for _, state := range c.states {
		filter.States = append(filter.States, api.InstanceState(strings.ToUpper(state)))
	}
	return filter, usage(filter.Validate())
}

// usage makes what a request of package api is refused for an error of wrong usage.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{errors.New(api.Explain(err, api.ErrInvalidRequest).Message)}
}

func (s *session) instancesCommand() *cobra.Command {
	var chosen choice
	cmd := &cobra.Command{
		Use:   "instances NAME",
		Short: "Find instances of an app",
		Long: `Lists the instances of an app that fit every flag that is given: those that the app is kept at, with the last that
crashed where none took its place yet, and those that "starter start-instance" started by themselves and that have not
ended. Of a flag that is given several times one value must fit. One that was started by itself is seen after two seconds
at the latest.`,
		Example: `  starter instances hello
  starter instances hello --state running --index 0 --index 1
  starter instances hello --version 2 --output json | jq -r '.instances[].instance_id'`,
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(s.onInstances(&chosen, func(c *controller.Client, ctx context.Context, filter api.InstanceFilter) error {
			found, err := c.FindInstances(ctx, filter)
			if err != nil && len(found) == 0 {
				return err
			}
			if err != nil {
				s.report().Linef("(some instances are missing: %v)", err)
			}
			return s.render().Instances(found, "No such instances. `starter ps "+filter.AppID+"` shows what the app has.")
		})),
	}
	s.choiceFlags(cmd, &chosen)
	return cmd
}

// onInstances runs what a command does with the instances that its flags choose.
func (s *session) onInstances(
	chosen *choice, do func(*controller.Client, context.Context, api.InstanceFilter) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		filter, err := chosen.filter(cmd.Flags(), args[0])
		if err != nil {
			return err
		}
		c, err := s.open(cmd.Context())
		if err != nil {
			return err
		}
		return do(c, cmd.Context(), filter)
	}
}

func (s *session) stopInstancesCommand() *cobra.Command {
	var chosen choice
	reason, all := "", false
	cmd := &cobra.Command{
		Use:   "stop-instances NAME",
		Short: "Stop instances of an app",
		Long: `Tells the instances of an app that fit every flag that is given to stop, as "starter instances" finds them, and
shows them as they were. All of them are stopped by --all alone. Where the app wants more than are left, others start in
their place: "starter scale" changes what it wants, "starter stop" stops an app.`,
		Example: `  starter stop-instances hello --index 1
  starter stop-instances hello --instance 0b5a6e0c-8d0e-4f0a-9a57-5d3f6a2c9f11 --reason "it hangs"`,
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(s.onInstances(&chosen, func(c *controller.Client, ctx context.Context, filter api.InstanceFilter) error {
			told, err := c.StopInstances(ctx, filter, reason)
			if err != nil && len(told) == 0 {
				return err
			}
			// Some that were not told are a failure, also where others were.
			return cmp.Or(s.render().Instances(told, "No such instances: nothing was stopped."), err)
		})),
	}
	s.choiceFlags(cmd, &chosen)
	reasonFlag(cmd, &reason)
	cmd.Flags().BoolVar(&all, "all", false, "stop all instances of the app")
	cmd.PreRunE = func(_ *cobra.Command, args []string) error {
		filter, err := chosen.filter(cmd.Flags(), args[0])
		switch {
		case err != nil:
			return err
		case filter.All() && !all:
			return errors.New("no instance was chosen: give a flag that chooses some, or --all")
		case !filter.All() && all:
			return errors.New("--all is for all instances: leave it out, or the flags that choose some")
		}
		return nil
	}
	return cmd
}

// reasonFlag adds --reason, which the workflow's history has for ever.
func reasonFlag(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", cmd.CommandPath(), "`why`, for whoever reads the history")
}

func (s *session) followCommand() *cobra.Command {
	instance := ""
	cmd := &cobra.Command{
		Use:   "follow NAME",
		Short: "Show each change of an app's instances as it happens",
		Long: `Shows the instances of an app, and then a line for each change of one: of its state, with the time of the change, or
of its node, address, readiness, routes or version. It ends when the app is deleted and its last instance gone, or by an
interrupt. With --instance it is the changes of one instance, whoever started it, until it has ended. A line says so where
changes before it may be missing. With --output json each line is an object of its own, and has "missed" there.`,
		Example: `  starter follow hello
  starter follow hello --output json | jq -r 'select(.exit) | .exit.description'
  starter follow --instance 0b5a6e0c-8d0e-4f0a-9a57-5d3f6a2c9f11`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("instance") {
				return cmp.Or(nothing()(cmd, args), usage(api.ValidateInstanceID(instance)))
			}
			return named("NAME")(cmd, args)
		},
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			s.lines = true
			c, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			changes := c.FollowInstance(cmd.Context(), instance)
			if len(args) > 0 {
				changes = c.Follow(cmd.Context(), args[0])
			}
			for status, err := range changes {
				if err == nil {
					err = s.render().Change(status)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&instance, "instance", "", "follow the one instance of this `id`, instead of an app")
	return cmd
}

func (s *session) routesCommand() *cobra.Command {
	var routes api.RoutesRequest
	none := false
	cmd := &cobra.Command{
		Use:   "routes NAME ROUTE...",
		Short: "Give an app other routes",
		Long: `Gives an app other routes, all of them: those that are not named are no longer its own. Its instances run on, and
the routers hear of it at once. --none takes all routes away; --version says that the app, as it runs, is of another
version now.`,
		Example: `  starter routes hello hello.example.org www.example.org/shop
  starter routes hello --none`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || none != (len(args) == 1) {
				return fmt.Errorf("it is used as %s NAME ROUTE..., or with --none instead of the routes", cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			routes.URIs = args[1:]
			if err := usage(routes.Validate()); err != nil {
				return err
			}
			c, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			app, err := c.UpdateRoutes(cmd.Context(), args[0], routes)
			if err != nil {
				return err
			}
			return s.render().App(app)
		}),
	}
	cmd.Flags().BoolVar(&none, "none", false, "take all routes away")
	cmd.Flags().StringVar(&routes.Version, "version", "", "the `version` that the app is of from now on")
	return cmd
}

func (s *session) evacuateCommand() *cobra.Command {
	reason := ""
	cmd := &cobra.Command{
		Use:   "evacuate NODE",
		Short: "Have a node's instances replaced elsewhere",
		Long: `Keeps new work off a node and has its instances replaced elsewhere. Each runs on until its replacement does, or
until the node's own patience ends. It returns as soon as the node knows; "starter nodes" shows how many instances are
left. The next worker of the node takes work again: a node that is to stay away is drained as well.`,
		Example: `  starter evacuate 6f1d2c3a --reason "the kernel is updated"
  starter evacuate 6f1d2c3a --output json | jq .state`,
		Args:              named("NODE"),
		ValidArgsFunction: s.completeNodes(),
		RunE: s.work(s.onNode(func(c *controller.Client, ctx context.Context, node string) (api.NodeStatus, error) {
			return c.Evacuate(ctx, node, reason)
		})),
	}
	reasonFlag(cmd, &reason)
	return cmd
}
