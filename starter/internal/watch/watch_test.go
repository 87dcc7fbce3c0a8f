package watch

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/progress"
)

// away is a Temporal that does not answer.
type away struct{ client.Client }

func (away) QueryWorkflowWithOptions(
	context.Context, *client.QueryWorkflowWithOptionsRequest,
) (*client.QueryWorkflowWithOptionsResponse, error) {
	return nil, serviceerror.NewUnavailable("away")
}

func TestAPlatformThatStaysAwayIsNoAppThatFailed(t *testing.T) {
	var told bytes.Buffer
	w := &Watcher{Controller: controller.New(away{}, nil), Report: progress.New(&told)}
	_, err := w.Running(context.Background(), "hello", "", 200*time.Millisecond)
	require.ErrorIs(t, err, controller.ErrUnreachable)
	require.NotErrorIs(t, err, ErrAppFailed)
	require.Contains(t, told.String(), "does not answer", "whoever waits is told why")
}
