package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// completeTimeout is how long a user who pressed the tab key waits.
const completeTimeout = 2 * time.Second

// completeApps offers the names of apps as the first argument.
func (s *session) completeApps(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	c, err := s.open(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	apps, _ := c.Apps(ctx) // what could be had is better than nothing
	names := make([]string, 0, len(apps))
	for _, a := range apps {
		names = append(names, a.AppID)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeNodes offers the ids of nodes as the first argument.
func (s *session) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	c, err := s.open(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	nodes, _ := c.Nodes(ctx) // what could be had is better than nothing
	ids := make([]string, 0, len(nodes))
	for _, n := range nodes {
		ids = append(ids, n.Node)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeNothing keeps the shell from offering files.
func completeNothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}
