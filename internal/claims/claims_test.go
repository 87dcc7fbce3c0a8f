package claims_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/internal/claims"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	first  = claims.Work{Run: "run", Activity: "5", Attempt: 1}
	second = claims.Work{Run: "run", Activity: "5", Attempt: 2}
)

func TestAnEarlierAttemptDoesNotEndALaterOne(t *testing.T) {
	var c claims.Claims
	later, end, err := c.Begin(t.Context(), "box", second)
	require.NoError(t, err)
	defer end()
	_, _, err = c.Begin(t.Context(), "box", first)
	require.ErrorIs(t, err, claims.ErrReplaced)
	require.NoError(t, later.Err())
}

func TestNewerWorkWaitsForTheOlderToEnd(t *testing.T) {
	var c claims.Claims
	older, endOlder, err := c.Begin(t.Context(), "box", first)
	require.NoError(t, err)

	began := make(chan func())
	go func() {
		_, end, err := c.Begin(t.Context(), "box", second)
		if err == nil {
			began <- end
		}
		close(began)
	}()
	<-older.Done()
	require.ErrorIs(t, context.Cause(older), claims.ErrReplaced)
	select {
	case <-began:
		t.Fatal("the newer work began before the older had ended")
	default:
	}
	endOlder()
	end := <-began
	require.NotNil(t, end)
	end()
}

func TestOtherKeysAreLeftAlone(t *testing.T) {
	var c claims.Claims
	work, end, err := c.Begin(t.Context(), "box", first)
	require.NoError(t, err)
	defer end()
	require.NoError(t, c.Retire(t.Context(), "other", "run"))
	require.NoError(t, work.Err())
}

func TestRetireEndsWorkAndRefusesMoreOfTheSameRun(t *testing.T) {
	var c claims.Claims
	work, end, err := c.Begin(t.Context(), "box", first)
	require.NoError(t, err)
	go func() { <-work.Done(); end() }()
	require.NoError(t, c.Retire(t.Context(), "box", "run"))
	require.ErrorIs(t, context.Cause(work), claims.ErrRetired)

	_, _, err = c.Begin(t.Context(), "box", first)
	require.ErrorIs(t, err, claims.ErrRetired)

	_, end, err = c.Begin(t.Context(), "box", claims.Work{Run: "another run"})
	require.NoError(t, err, "another run may use the same name again")
	end()
}

func TestRetireGivesUpWithItsContext(t *testing.T) {
	var c claims.Claims
	_, end, err := c.Begin(t.Context(), "box", first)
	require.NoError(t, err)
	defer end()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Retire(ctx, "box", "run"), context.Canceled)
}
