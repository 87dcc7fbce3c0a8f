package controller

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/codec"
)

// TestANameThatNothingHas: what Temporal refuses for its length is no namespace that is not set up.
func TestANameThatNothingHas(t *testing.T) {
	err := explain(context.Background(), serviceerror.NewInvalidArgument("WorkflowId length exceeds limit."),
		appSubject(strings.Repeat("x", 1100)))
	require.ErrorIs(t, err, ErrNoSuchApp)
	require.ErrorContains(t, err, "no app with a name of 1100 characters")
}

func TestExplain(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		kind  error
		words string
	}{
		"other keys":   {unreadable(t), ErrNotSetUp, "temporal.encryption_key_file"},
		"their words":  {unreadableFailure(t), ErrNotSetUp, "temporal.encryption_key_file"},
		"missing":      {serviceerror.NewNotFound("workflow not found"), ErrNoSuchApp, `there is no app "hello"`},
		"no namespace": {serviceerror.NewNamespaceNotFound("dea"), ErrNotSetUp, "starter setup"},
		"bad argument": {serviceerror.NewInvalidArgument("no mapping"), ErrNotSetUp, "starter setup"},
		"denied":       {serviceerror.NewPermissionDenied("x", "y"), ErrRefused, "API key"},
		"unavailable":  {serviceerror.NewUnavailable("x"), ErrUnreachable, "address"},
		"bare grpc":    {status.Error(codes.Unavailable, "x"), ErrUnreachable, "address"},
		"no poller":    {serviceerror.NewFailedPrecondition("no poller"), ErrNoWorker, "worker"},
		"not ready":    {serviceerror.NewWorkflowNotReady("x"), ErrNoWorker, "worker"},
		"busy":         {serviceerror.NewResourceExhausted(enumspb.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT, "x"), ErrRefused, "try again"},
		"timeout":      {context.DeadlineExceeded, ErrNoWorker, "in time"},
		"update timeout": {
			client.NewWorkflowUpdateServiceTimeoutOrCanceledError(context.DeadlineExceeded), ErrNoWorker, "in time",
		},
		"invalid":   {api.Final(api.ErrInvalidRequest, "the app is being deleted", nil), ErrInvalid, "the app is being deleted"},
		"ours":      {api.Final(api.ErrDroplet, "the droplet is gone", nil), ErrRefused, "the droplet is gone"},
		"theirs":    {temporal.NewApplicationError("panic: hush", "panic"), ErrRefused, "did not take the request"},
		"known":     {invalid(api.ScaleRequest{Instances: -1}.Validate()), ErrInvalid, "instances must be"},
		"wrapped":   {fmt.Errorf("ask: %w", serviceerror.NewNotFound("x")), ErrNoSuchApp, "no app"},
		"something": {errors.New("hush"), ErrRefused, "did not take the request"},
	} {
		t.Run(name, func(t *testing.T) {
			err := explain(context.Background(), test.err, appSubject("hello"))
			require.ErrorIs(t, err, test.kind)
			require.ErrorContains(t, err, test.words)
			require.NotContains(t, err.Error(), "hush", "a cause is for the operator")
			var parts *Error
			require.ErrorAs(t, err, &parts)
			if parts.Cause != nil {
				require.ErrorIs(t, err, parts.Cause)
			}
		})
	}
	require.NoError(t, explain(context.Background(), nil, appSubject("hello")))
}

// unreadableFailure is a failure that was encrypted with another installation's key.
func unreadableFailure(t *testing.T) error {
	t.Helper()
	theirs, ours := keyring(t), keyring(t)
	failure := theirs.FailureConverter().ErrorToFailure(api.Final(api.ErrInvalidRequest, "hush", nil))
	return ours.FailureConverter().FailureToError(failure)
}

func keyring(t *testing.T) *codec.Keyring {
	t.Helper()
	ring, err := codec.CreateKeyFile(filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err)
	return ring
}

// unreadable is what a client says to an answer that was encrypted with another installation's key.
func unreadable(t *testing.T) error {
	t.Helper()
	theirs, ours := keyring(t), keyring(t)
	answer, err := theirs.DataConverter().ToPayloads("x")
	require.NoError(t, err)
	var out string
	return ours.DataConverter().FromPayloads(answer, &out)
}

func TestInterruptPassesThrough(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := explain(ctx, client.NewWorkflowUpdateServiceTimeoutOrCanceledError(errors.New("x")), appSubject("hello"))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrNoWorker)
}

func TestFlatten(t *testing.T) {
	cause := serviceerror.NewInvalidArgument("x")
	multi := serviceerror.NewMultiOperationExecution("both failed", []error{
		serviceerror.NewMultiOperationAborted("aborted"), cause,
	})
	require.Equal(t, cause, flatten(multi))
	require.Equal(t, cause, flatten(cause))
}

func TestStagingError(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want api.ErrorInfo
	}{
		"typed":     {api.Final(api.ErrNoAppDetected, "none fits", nil), api.ErrorInfo{Type: api.ErrNoAppDetected, Message: "none fits"}},
		"cancelled": {temporal.NewCanceledError(), api.ErrorInfo{Type: api.ErrStaging, Message: api.StagingTaskStopped}},
		"unknown":   {errors.New("x"), api.Explain(errors.New("x"), api.ErrStager)},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, stagingError(test.err)) })
	}
	err := New(nil, nil).Staging("a", "t").failure(context.Background(),
		api.ErrorInfo{Type: api.ErrBuildpackCompile, Message: "compile failed"}, nil)
	require.ErrorIs(t, err, ErrStagingFailed)
	require.Equal(t, api.ErrBuildpackCompile, api.Explain(err, "").Type)
}

func TestMissingAttributes(t *testing.T) {
	all, err := missingAttributes(nil)
	require.NoError(t, err)
	require.Len(t, all, len(api.SearchAttributes()))
	none, err := missingAttributes(all)
	require.NoError(t, err)
	require.Empty(t, none)
	all[api.SearchApp.GetName()] = enumspb.INDEXED_VALUE_TYPE_INT
	_, err = missingAttributes(all)
	require.ErrorIs(t, err, ErrNotSetUp)
	require.ErrorContains(t, err, "DeaApp")
}

func TestRetryIsBounded(t *testing.T) {
	calls := 0
	_, err := retry(context.Background(), func() (int, error) { calls++; return 0, serviceerror.NewNotFound("x") })
	require.Error(t, err)
	require.Equal(t, 1, calls, "what does not pass by itself is not tried again")

	calls = 0
	got, err := retry(context.Background(), func() (int, error) {
		calls++
		if calls < 3 {
			return 0, serviceerror.NewWorkflowNotReady("x")
		}
		return 7, nil
	})
	require.NoError(t, err)
	require.Equal(t, 7, got)

	ctx, cancel := context.WithCancel(context.Background())
	calls = 0
	_, err = retry(ctx, func() (int, error) { calls++; cancel(); return 0, serviceerror.NewWorkflowNotReady("x") })
	require.Error(t, err)
	require.Equal(t, 1, calls)
}
