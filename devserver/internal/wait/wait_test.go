package wait_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/devserver/internal/wait"
)

func TestForEndsWithTheFirstSuccess(t *testing.T) {
	tries := 0
	require.NoError(t, wait.For(t.Context(), time.Millisecond, func(context.Context) error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	}))
	require.Equal(t, 3, tries)
}

func TestForTellsCauseAndLastReason(t *testing.T) {
	died, refused := errors.New("the process died"), errors.New("connection refused")
	ctx, cancel := context.WithCancelCause(t.Context())
	tries := 0
	err := wait.For(ctx, time.Millisecond, func(ctx context.Context) error {
		if tries++; tries == 2 {
			cancel(died)
			return ctx.Err()
		}
		return refused
	})
	require.ErrorIs(t, err, died)
	require.ErrorIs(t, err, refused)
}
