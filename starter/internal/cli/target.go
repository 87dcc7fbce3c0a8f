package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/appfiles"
)

// target is the instance that a command is about: one of an app's by NAME and INDEX, or any by its id.
type target struct {
	app, id string
	index   int
}

// flag adds the flag for the id.
func (t *target) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.id, "instance", "", "the instance of this `id`, instead of NAME and INDEX")
}

// arguments are the names of those that the target takes: none where the flag says which it is.
func (t *target) arguments(cmd *cobra.Command) []string {
	if cmd.Flags().Changed("instance") {
		return nil
	}
	return []string{"NAME", "INDEX"}
}

// read reads those arguments, which are there and not blank.
func (t *target) read(args []string) error {
	if len(args) == 0 {
		return usage(api.ValidateInstanceID(t.id))
	}
	var err error
	if t.index, err = strconv.Atoi(args[1]); err != nil || t.index < 0 {
		return fmt.Errorf("INDEX must be a number from 0, not %q", args[1])
	}
	t.app = args[0]
	return usage(api.InstanceFilter{AppID: t.app, Indices: []int{t.index}}.Validate())
}

// find finds the instance.
func (t *target) find(ctx context.Context, c *controller.Client) (api.InstanceStatus, error) {
	if t.id != "" {
		return c.Instance(ctx, t.id)
	}
	return (&appfiles.Reader{Controller: c}).Find(ctx, t.app, t.index)
}
