package controller

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/api"
)

// keepers is a Temporal whose update-with-starts fail of errs, one after the other, and then are answered.
type keepers struct {
	client.Client
	client.WorkflowUpdateHandle
	errs    []error
	answer  any
	started []client.StartWorkflowOptions
	types   []any
	updates []client.UpdateWorkflowOptions
}

func (k *keepers) NewWithStartWorkflowOperation(
	options client.StartWorkflowOptions, workflow any, _ ...any,
) client.WithStartWorkflowOperation {
	k.started, k.types = append(k.started, options), append(k.types, workflow)
	return nil
}

func (k *keepers) UpdateWithStartWorkflow(
	_ context.Context, options client.UpdateWithStartWorkflowOptions,
) (client.WorkflowUpdateHandle, error) {
	k.updates = append(k.updates, options.UpdateOptions)
	if len(k.errs) == 0 {
		return k, nil
	}
	err := k.errs[0]
	var failure *temporal.ApplicationError
	if errors.As(err, &failure) { // what an update failed of comes with its answer
		return k, nil
	}
	k.errs = k.errs[1:]
	return nil, err
}

func (k *keepers) Get(_ context.Context, out any) error {
	if len(k.errs) > 0 {
		err := k.errs[0]
		k.errs = k.errs[1:]
		return err
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(k.answer)
	if err != nil {
		return err
	}
	return converter.GetDefaultDataConverter().FromPayloads(payloads, out)
}

// aborted is what an update-with-start fails of whose update failed.
func aborted(update error) error {
	return serviceerror.NewMultiOperationExecution("failed", []error{serviceerror.NewMultiOperationAborted("aborted"), update})
}

func stagingRequest() api.StagingRequest {
	return api.StagingRequest{AppID: "hello", TaskID: "t-1", Stack: "s", DownloadURI: "http://cc/a", UploadURI: "http://cc/d"}
}

func TestStage(t *testing.T) {
	k := &keepers{answer: api.StageAnswer{Again: true}}
	s, err := New(k, nil).Stage(context.Background(), stagingRequest())
	require.NoError(t, err)
	require.Equal(t, "hello t-1", s.AppID+" "+s.TaskID)
	require.True(t, s.Again)
	require.Equal(t, []any{api.WorkflowAppStagings}, k.types)
	o := k.started[0]
	require.Equal(t, "stagings/hello", o.ID)
	require.Equal(t, enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING, o.WorkflowIDConflictPolicy)
	app, _ := o.TypedSearchAttributes.GetKeyword(api.SearchApp)
	require.Equal(t, "hello", app)
	u := k.updates[0]
	require.Equal(t, api.UpdateStage.Name(), u.UpdateName)
	require.Equal(t, []any{api.StageInput{Request: stagingRequest()}}, u.Args)
	require.Equal(t, client.WorkflowUpdateStageCompleted, u.WaitForStage)
	require.NotEmpty(t, u.UpdateID)
}

// TestStageIsTriedAgainAsOne: whatever passes, a workflow that just ends included, with one update id.
func TestStageIsTriedAgainAsOne(t *testing.T) {
	for name, err := range map[string]error{
		"ended":                  aborted(serviceerror.NewNotFound("workflow execution already completed")),
		"continues":              aborted(serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW, "closing")),
		"ended, again and again": aborted(serviceerror.NewAborted("closing")),
		"no worker":              aborted(serviceerror.NewWorkflowNotReady("x")),
		"unanswered":             temporal.NewApplicationError("the Workflow completed", "AcceptedUpdateCompletedWorkflow"),
	} {
		t.Run(name, func(t *testing.T) {
			k := &keepers{errs: []error{err, err}}
			_, err := New(k, nil).Stage(context.Background(), stagingRequest())
			require.NoError(t, err)
			require.Len(t, k.updates, 3)
			require.Len(t, k.started, 3, "a start is good for one try")
			require.Equal(t, k.updates[0].UpdateID, k.updates[2].UpdateID)
		})
	}
	k := &keepers{errs: []error{api.Final(api.ErrInvalidRequest, "no", nil)}}
	_, err := New(k, nil).Stage(context.Background(), stagingRequest())
	require.ErrorIs(t, err, ErrInvalid)
	require.Len(t, k.updates, 1)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = New(&keepers{errs: []error{context.Canceled}}, nil).Stage(ctx, stagingRequest())
	require.ErrorIs(t, err, context.Canceled)
}

func TestRunBeginsAsStageDoes(t *testing.T) {
	k := &keepers{errs: []error{aborted(serviceerror.NewNotFound("over"))}, answer: api.AppStatus{AppID: "hello", Desired: 1}}
	status, err := New(k, nil).Run(context.Background(), api.AppSpec{Instances: 1, Message: api.StartMessage{
		AppID: "hello", Version: "v", SHA1: "da39a3ee5e6b4b0d3255bfef95601890afd80709", ExecutableURI: "http://cc/d", Stack: "s",
		Limits: api.Limits{MemoryMB: 1, DiskMB: 1},
	}})
	require.NoError(t, err)
	require.Equal(t, 1, status.Desired)
	require.Equal(t, api.WorkflowEvaluateHealth, k.types[0])
	require.Equal(t, "app/hello", k.started[1].ID)
	require.Equal(t, k.updates[0].UpdateID, k.updates[1].UpdateID)
}

func TestStageJSON(t *testing.T) {
	k := &keepers{}
	s, err := New(k, nil).StageJSON(context.Background(), []byte(`{"app_id":"hello","task_id":"t-1","stack":"s",
		"download_uri":"http://cc/a","upload_uri":"http://cc/d","start_message":{},"unknown":1}`))
	require.NoError(t, err)
	require.Equal(t, "t-1", s.TaskID)
	require.Equal(t, []any{api.StageInput{Request: stagingRequest()}}, k.updates[0].Args)

	for text, words := range map[string]string{
		`{"app_id":["swordfish"]}`: "app_id has a list where a text must be",
		`swordfish`:                "no JSON",
		`{"app_id":"hello"}`:       "task_id is missing",
	} {
		_, err := New(k, nil).StageJSON(context.Background(), []byte(text))
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, words)
		require.NotContains(t, err.Error(), "swordfish")
	}
	require.Len(t, k.updates, 1, "nothing else was begun")
}

func TestLatestStaging(t *testing.T) {
	p := &platform{status: api.StagingsStatus{AppID: "hello", Newest: "t-2", Open: []string{"t-1", "t-2"}}}
	s, err := New(p, nil).LatestStaging(context.Background(), "hello")
	require.NoError(t, err)
	require.Equal(t, "stage/hello/t-2", s.workflow())
	require.Equal(t, []string{"stagings/hello status"}, p.asked)

	for name, p := range map[string]*platform{
		"never":     {asking: serviceerror.NewNotFound("workflow not found")},
		"not begun": {status: api.StagingsStatus{AppID: "hello"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(p, nil).LatestStaging(context.Background(), "hello")
			require.ErrorIs(t, err, ErrNoSuchStaging)
			require.ErrorContains(t, err, `there is no staging of app "hello": it was never staged`)
		})
	}
}

func TestDeleteCancelsTheStagingsOfItsApp(t *testing.T) {
	p := &platform{fails: serviceerror.NewNotFound("over")}
	c := New(p, nil)
	_, err := c.Delete(context.Background(), "hello", "")
	require.ErrorIs(t, err, ErrNoSuchApp, "it never ran")
	require.Equal(t, []string{"stagings/hello"}, p.cancelled)

	require.ErrorIs(t, c.AwaitGone(context.Background(), "hello"), ErrNoSuchApp)
	require.Equal(t, []string{"stagings/hello", "app/hello"}, p.awaited)
}

func TestDeleteOfAnAppWithoutStagings(t *testing.T) {
	p := &platform{cancelling: serviceerror.NewNotFound("workflow execution already completed")}
	_, err := New(p, nil).Delete(context.Background(), "hello", "")
	require.ErrorIs(t, err, ErrNoSuchApp, "which is said of the app")
	require.Equal(t, 1, p.updated)

	p = &platform{cancelling: serviceerror.NewUnavailable("away")}
	_, err = New(p, nil).Delete(context.Background(), "hello", "")
	require.ErrorIs(t, err, ErrUnreachable)
	require.Zero(t, p.updated, "an app is not deleted from under a staging that goes on")
}

func TestStagingsMayEndAsTheyLike(t *testing.T) {
	for name, test := range map[string]struct{ ends, want error }{
		"well":      {nil, nil},
		"cancelled": {&temporal.WorkflowExecutionError{}, nil},
		"forgotten": {serviceerror.NewNotFound("x"), nil},
		"denied":    {serviceerror.NewPermissionDenied("x", "y"), &serviceerror.PermissionDenied{}},
	} {
		t.Run(name, func(t *testing.T) {
			err := New(&platform{fails: test.ends}, nil).awaitStagings(context.Background(), "hello")
			require.Equal(t, test.want == nil, err == nil)
		})
	}
}
