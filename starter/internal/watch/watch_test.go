package watch

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
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

// answers is a Temporal with one app.
type answers struct {
	client.Client
	app api.AppStatus
}

func (a answers) QueryWorkflowWithOptions(
	context.Context, *client.QueryWorkflowWithOptionsRequest,
) (*client.QueryWorkflowWithOptionsResponse, error) {
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(a.app)
	return &client.QueryWorkflowWithOptionsResponse{QueryResult: client.NewValue(payloads)}, err
}

func TestAnAppThatIsStartedAgainIsNotWaitedForToStop(t *testing.T) {
	var told bytes.Buffer
	one := app(0, 2, instance("x", 0, api.StateStopping))
	w := &Watcher{Controller: controller.New(answers{app: one}, nil), Report: progress.New(&told)}
	_, err := w.Stopped(context.Background(), "hello", time.Minute)
	require.ErrorIs(t, err, ErrAppFailed)
	require.ErrorContains(t, err, "hello was started again meanwhile: 2 of its instances are wanted")

	w.Controller = controller.New(answers{app: app(0, 0)}, nil)
	_, err = w.Stopped(context.Background(), "hello", time.Minute)
	require.NoError(t, err)
}
