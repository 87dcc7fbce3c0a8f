package stager

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/progress"
	"github.com/durable-dea/dea/starter/internal/tail"
)

// over is a Temporal whose stagings are over at once. status answers the question for their log.
type over struct {
	client.Client
	client.WorkflowRun
	status func(context.Context) (any, error)
}

func (o *over) ListWorkflow(
	context.Context, *workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	return &workflowservice.ListWorkflowExecutionsResponse{}, nil
}

func (o *over) ExecuteWorkflow(
	context.Context, client.StartWorkflowOptions, any, ...any,
) (client.WorkflowRun, error) {
	return o, nil
}

func (o *over) GetWorkflow(context.Context, string, string) client.WorkflowRun { return o }

func (o *over) Get(context.Context, any) error { return nil }

func (o *over) QueryWorkflow(ctx context.Context, _, _, _ string, _ ...any) (converter.EncodedValue, error) {
	value, err := o.status(ctx)
	if err != nil {
		return nil, err
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(value)
	return client.NewValue(payloads), err
}

func TestALogThatIsGoneIsNotPassedOverInSilence(t *testing.T) {
	for name, test := range map[string]struct {
		status func(context.Context) (any, error)
		words  string
	}{
		"over too soon": {func(context.Context) (any, error) {
			return api.StagingStatus{Node: "n", FilesURL: "http://127.0.0.1:1", Result: &api.StagingResult{}}, nil
		}, "the staging log cannot be shown"},
		"nobody answers for it": {func(ctx context.Context) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, "could not be shown in time"},
	} {
		t.Run(name, func(t *testing.T) {
			var told bytes.Buffer
			files := tail.New()
			defer files.Close()
			s := &Stager{
				Controller: controller.New(&over{status: test.status}, nil), Files: files, Report: progress.New(&told),
			}
			_, err := s.Stage(context.Background(), api.StagingRequest{
				AppID: "a", TaskID: "t", Stack: "s", DownloadURI: "http://cc", UploadURI: "http://cc",
			})
			require.NoError(t, err)
			require.Contains(t, told.String(), test.words)
		})
	}
}
