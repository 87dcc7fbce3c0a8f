// Command worker is the agent of one node: it runs the workflows and activities of Durable DEA there.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/logging"
	"github.com/durable-dea/dea/worker/internal/agent"
)

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	c := &cobra.Command{
		Use:   "worker --config dea.yml",
		Short: "Run the apps of one node",
		Long: `worker is the agent of one node. It takes work from Temporal, stages and runs apps in the containers of
the node's Warden, and keeps watch over them.

TERM and INT end the worker and leave its instances running: the next worker of the same base_dir finds
them again. A second worker for the same base_dir is refused.`,
		Example:       "  worker --config /etc/dea/dea.yml",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	config.NodeFlags(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		node, err := config.LoadNode(config.LoadOptions{Flags: c.Flags()})
		if err != nil {
			return err
		}
		return run(c.Context(), node)
	}
	return c
}

func run(ctx context.Context, node *config.Node) error {
	log, closer, err := logging.New("worker", node.Logging)
	if err != nil {
		return err
	}
	defer closer.Close()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return agent.Run(ctx, node, log)
}
