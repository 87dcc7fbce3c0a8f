package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/cloudcontroller"
	"github.com/durable-dea/dea/starter/internal/render"
	"github.com/durable-dea/dea/starter/internal/watch"
)

func (s *session) deleteCommand() *cobra.Command {
	var w waiting
	reason, sure := "", false
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete an app for good",
		Long: `Stops all instances of an app, cancels a staging of it that runs, waits until they are gone, and deletes the app's
package, droplets and buildpack cache at the cloud controller. There is no way back, so on a terminal it asks first,
unless --yes is given. An app that was only uploaded, and never run, is deleted as well.`,
		Example: `  starter delete hello
  starter delete hello --yes --reason "replaced by hello2" --no-wait`,
		Args:              named("NAME"),
		ValidArgsFunction: s.completeApps(),
		RunE: s.work(func(cmd *cobra.Command, args []string) error {
			if !sure && !s.confirmed(cmd.Context(), args[0]) {
				return cmp.Or(cmd.Context().Err(), errors.New("nothing was deleted"))
			}
			return s.delete(cmd.Context(), args[0], reason, w)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the operator: it is kept in the app's history")
	cmd.Flags().BoolVarP(&sure, "yes", "y", false, "do not ask")
	w.flags(cmd)
	return cmd
}

// confirmed asks whoever sits at the terminal; where nobody does, the command itself is the answer.
func (s *session) confirmed(ctx context.Context, name string) bool {
	in, ok := s.process.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return true
	}
	_, _ = fmt.Fprintf(s.process.Err, "Delete %s for good? [y/N] ", name)
	answered := make(chan string, 1)
	go func() {
		// Nothing ends a read of a terminal; an interrupt leaves it behind, and the program ends.
		answer, _ := bufio.NewReader(in).ReadString('\n')
		answered <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case answer := <-answered:
		return answer == "y" || answer == "yes"
	case <-ctx.Done():
		_, _ = fmt.Fprintln(s.process.Err)
		return false
	}
}

func (s *session) delete(ctx context.Context, name, reason string, w waiting) error {
	cfg, err := s.configuration()
	if err != nil {
		return err
	}
	c, err := s.connect(ctx, cfg)
	if err != nil {
		return err
	}
	_, missing := c.Delete(ctx, name, reason)
	if missing != nil && !none(missing) {
		return missing
	}
	if !w.noWait { // an app that never ran may have a staging
		if missing == nil {
			s.report().Linef("Waiting until the instances of %s are gone", name)
		}
		if err := awaitGone(ctx, c, name, w); err != nil {
			return err
		}
	}
	kept, err := s.deleteFiles(ctx, cfg, name)
	switch {
	case err != nil:
		return err
	case missing != nil && !kept:
		return missing
	}
	return s.render().Deleted(render.Deleted{App: name, Gone: missing != nil || !w.noWait})
}

func awaitGone(ctx context.Context, c *controller.Client, name string, w waiting) error {
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	err := c.AwaitGone(limited, name)
	if limited.Err() != nil && ctx.Err() == nil {
		return &watch.NotRunningError{
			Words: fmt.Sprintf("%s is not gone after %s", name, w.timeout), Next: "`starter ps " + name + "` shows what is left",
		}
	}
	if none(err) { // gone, and forgotten
		return nil
	}
	return err
}

// deleteFiles deletes what a cloud controller keeps of an app, and tells whether that was anything.
func (s *session) deleteFiles(ctx context.Context, cfg *config.Client, name string) (bool, error) {
	if cfg.CloudController == "" {
		s.report().Line("No cc_url is configured: what a cloud controller may keep of it stays")
		return false, nil
	}
	cloud, err := s.cloud(cfg)
	if err != nil {
		return false, err
	}
	err = cloud.DeleteApp(ctx, name)
	if errors.Is(err, cloudcontroller.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
