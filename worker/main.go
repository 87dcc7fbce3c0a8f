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

Signals:
  TERM, INT  end it. Its instances run on: the next worker of the same base_dir finds them again. With
             --on-stop=stop they are stopped first, as by QUIT
  QUIT       stop all instances gracefully, then end
  USR1       take no new work; the next worker of the node takes work again
  USR2       have all instances replaced on other nodes, then end; what was not replaced by
             evacuation_bail_out_time_in_seconds is stopped
A second TERM or INT ends it at once. A second worker for the same base_dir is refused.`,
		Example: `  worker --config /etc/dea/dea.yml
  worker --config /etc/dea/dea.yml --on-stop=stop`,
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
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	return agent.Run(ctx, node, signals, log)
}
