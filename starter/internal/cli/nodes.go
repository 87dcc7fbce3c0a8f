package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/render"
)

func (s *session) nodesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes",
		Long: `Lists every node with its state, zone and stacks, what is booked of its memory and disk, what runs there, and what its
machine uses where that can be had soon, with the age of numbers that are older than half a minute.`,
		Example: `  starter nodes
  starter nodes --output json | jq '.nodes[].remaining'`,
		Args:              nothing(),
		ValidArgsFunction: completeNothing,
		RunE:              s.work(showAll(s, "nodes", nodesUsage, render.Renderer.Nodes)),
	}
}

func (s *session) drainCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "drain NODE",
		Short:             "Keep new work off a node",
		Long:              "Keeps new instances and stagings off a node. What runs there stays, also when its worker is restarted.",
		Example:           "  starter drain 6f1d2c3a",
		Args:              named("NODE"),
		ValidArgsFunction: s.completeNodes(),
		RunE:              s.work(s.onNode((*controller.Client).Drain)),
	}
}

func (s *session) undrainCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "undrain NODE",
		Short:             "Let new work on a node again",
		Long:              "Lets new instances and stagings on a node that was drained.",
		Example:           "  starter undrain 6f1d2c3a",
		Args:              named("NODE"),
		ValidArgsFunction: s.completeNodes(),
		RunE:              s.work(s.onNode((*controller.Client).Undrain)),
	}
}

func (s *session) forgetCommand() *cobra.Command {
	reason := ""
	cmd := &cobra.Command{
		Use:   "forget NODE",
		Short: "Forget a node that is lost for good",
		Long: `Ends the workflow of a node that is LOST, so that it is listed no more. Nothing of it is left: its instances were
replaced when it was lost. A worker of the node that is started all the same has it join anew.`,
		Example: `  starter forget 6f1d2c3a --reason "the machine was sold"
  starter nodes --output json | jq -r '.nodes[] | select(.state == "LOST") | .node' | xargs -n 1 starter forget`,
		Args:              named("NODE"),
		ValidArgsFunction: s.completeNodes(),
		RunE: s.work(s.onNode(func(c *controller.Client, ctx context.Context, node string) (api.NodeStatus, error) {
			return c.Forget(ctx, node, reason)
		})),
	}
	reasonFlag(cmd, &reason)
	return cmd
}

// onNode makes a command of a change of one node.
func (s *session) onNode(
	change func(*controller.Client, context.Context, string) (api.NodeStatus, error),
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := s.open(cmd.Context())
		if err != nil {
			return err
		}
		node, err := change(c, cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return s.render().Node(node)
	}
}
