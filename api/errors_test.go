package api_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/api"
)

func TestExplainFindsEveryTypeOfOurs(t *testing.T) {
	for _, kind := range []api.ErrorType{
		api.ErrNoAppDetected, api.ErrBuildpackCompile, api.ErrBuildpackRelease, api.ErrStagingTimeExpired,
		api.ErrInsufficientResources, api.ErrStager, api.ErrStaging, api.ErrInvalidRequest, api.ErrStartFailed, api.ErrDroplet,
		api.ErrWarden, api.ErrControllerUnreachable,
	} {
		want := api.ErrorInfo{Type: kind, Message: "words"}
		cause := errors.New(hush)
		for name, err := range map[string]error{
			"final": api.Final(kind, "words", cause), "transient": api.Transient(kind, "words", cause),
			"wrapped":        fmt.Errorf("staging: %w", api.Final(kind, "words", nil)),
			"within another": temporal.NewApplicationErrorWithCause(hush, "theirs", api.Final(kind, "words", cause)),
		} {
			require.Equal(t, want, api.Explain(err, "other"), "%s, %s", kind, name)
		}
		var application *temporal.ApplicationError
		require.ErrorAs(t, api.Final(kind, "words", nil), &application)
		require.True(t, application.NonRetryable())
		require.ErrorAs(t, api.Transient(kind, "words", nil), &application)
		require.False(t, application.NonRetryable())
	}
}

func TestExplainOfWhatIsNotOurs(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		words string
	}{
		"nothing known":  {errors.New(hush), "an internal error; the workflow's history has the cause"},
		"their type":     {temporal.NewApplicationError(hush, "panic"), "an internal error; the workflow's history has the cause"},
		"their cause":    {temporal.NewApplicationErrorWithCause(hush, "panic", errors.New(hush)), "an internal error; the workflow's history has the cause"},
		"a timeout":      {temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, errors.New(hush)), "the node did not answer in time"},
		"a cancellation": {temporal.NewCanceledError(hush), "task stopped"},
		"none":           {nil, "an internal error; the workflow's history has the cause"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, api.ErrorInfo{Type: api.ErrStager, Message: test.words}, api.Explain(test.err, api.ErrStager))
		})
	}
}

func TestStartFailure(t *testing.T) {
	exit := api.InstanceExit{Status: 3, Description: api.ExitAppExited}
	got, ok := api.StartFailure(fmt.Errorf("start: %w", api.StartFailed(exit, nil)))
	require.True(t, ok)
	require.Equal(t, exit, got)
	for _, err := range []error{nil, errors.New("x"), api.Final(api.ErrStartFailed, "x", nil), api.Final(api.ErrDroplet, "x", nil)} {
		_, ok := api.StartFailure(err)
		require.False(t, ok)
	}
}

func TestNotEnough(t *testing.T) {
	for constraint, words := range map[api.Constraint]string{
		api.ConstraintMemory: "Not enough memory resource available.", api.ConstraintDisk: "Not enough disk resource available.",
		api.ConstraintStack: "No node offers the stack that the app is to run on.",
		api.ConstraintState: "No node takes new work at the moment.", api.ConstraintTaken: "No node takes new work at the moment.",
	} {
		require.Equal(t, words, api.NotEnough(constraint))
	}
}
