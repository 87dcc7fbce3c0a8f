package temporal_test

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	sdk "go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/durable-dea/dea/api"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func searchAttributes() sdk.SearchAttributes {
	return sdk.NewSearchAttributes(
		api.SearchNode.ValueSet("n1"),
		api.SearchFreeMemory.ValueSet(512),
		api.SearchStacks.ValueSet([]string{"lucid64"}),
	)
}

func registerHello(works worker.Worker) {
	works.RegisterActivityWithOptions(
		func(context.Context) (string, error) { return "hello", nil },
		activity.RegisterOptions{Name: "hello"},
	)
}

func write(t *testing.T, file, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
}
