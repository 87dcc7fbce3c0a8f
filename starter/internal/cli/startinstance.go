package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/watch"
)

func (s *session) startInstanceCommand() *cobra.Command {
	var w waiting
	file, id := "", ""
	cmd := &cobra.Command{
		Use:   "start-instance -f FILE",
		Short: "Start one instance by a cloud controller's message",
		Long: `Reads a start message in the form that a cloud controller sends it (JSON), starts the one instance that it
describes, and waits until it runs. No app is kept: nobody starts it again when it ends, and "starter stop-instances" stops
it. Fields that are not known are passed over. An interrupt does not stop the instance.

With --id the instance has the id that is given: the same message with the same id starts nothing twice, and is told of the
instance as it is, also when it has ended. Without it the instance gets a new id.`,
		Example: `  starter start-instance -f message.json
  starter start-instance -f message.json --id hello-1-blue
  jq '.index = 1' message.json | starter start-instance -f - --no-wait --output json`,
		Args: nothing(),
	}
	cmd.RunE = s.work(func(cmd *cobra.Command, _ []string) error {
		text, err := s.readInput(cmd.Context(), file)
		if err != nil {
			return err
		}
		message, err := api.ParseStartMessage(text)
		if err == nil {
			err = message.Validate()
		}
		if err != nil {
			return usage(err)
		}
		if !cmd.Flags().Changed("id") {
			id = uuid.NewString()
		}
		if err := usage(api.ValidateInstanceID(id)); err != nil {
			return err
		}
		c, err := s.open(cmd.Context())
		if err != nil {
			return err
		}
		instance, err := c.StartInstance(cmd.Context(), message, controller.WithInstanceID(id))
		switch {
		case err != nil && instance.InstanceID != "":
			s.report().Linef("it may have been started; the same command with --id %s starts nothing twice", id)
		case err == nil && !w.noWait:
			instance, err = s.awaitInstance(cmd.Context(), c, instance, w)
		}
		if err != nil {
			if instance.InstanceID != "" {
				s.partial = instance
			}
			return err
		}
		instance.Changes = nil
		return s.render().Instance(instance)
	})
	fileFlag(cmd, &file, "message")
	cmd.Flags().StringVar(&id, "id", "", "the `id` that the instance is to have")
	w.flags(cmd)
	return cmd
}

// fileFlag adds the flag of a file that the command cannot do without.
func fileFlag(cmd *cobra.Command, file *string, what string) {
	cmd.Flags().StringVarP(file, "file", "f", "", "`file` with the "+what+", - for standard input; required")
	if err := cmd.MarkFlagRequired("file"); err != nil {
		panic(err) // the flag was made in the line above
	}
}

// awaitInstance waits until an instance runs, and returns it as it was last heard of.
func (s *session) awaitInstance(
	ctx context.Context, c *controller.Client, instance api.InstanceStatus, w waiting,
) (api.InstanceStatus, error) {
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	stop := fmt.Sprintf("`starter stop-instances %s --instance %s` stops it", instance.AppID, instance.InstanceID)
	fails := func(next, format string, args ...any) (api.InstanceStatus, error) {
		words := fmt.Sprintf("instance %s ", instance.InstanceID) + fmt.Sprintf(format, args...)
		return instance, &watch.NotRunningError{Instance: &instance, Words: words, Next: next}
	}
	for status, err := range c.FollowInstance(limited, instance.InstanceID) {
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return fails(stop, "does not run after %s but is %s", w.timeout, instance.State)
		case err != nil:
			if ctx.Err() != nil {
				s.report().Linef("instance %s goes on; %s", instance.InstanceID, stop)
			}
			return instance, err
		}
		instance = status.InstanceStatus
		switch {
		case status.State.Alive() && !status.RunningSince.IsZero() && status.State != api.StateStopping:
			return instance, nil
		case status.State.Ended() && status.Exit != nil:
			return fails("mend what it says and start another one", "has ended: %s", status.Exit.Description)
		}
	}
	return fails("start another one", "has ended")
}
