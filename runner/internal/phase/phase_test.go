package phase_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/runner/internal/phase"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func bash(script string, stdout, stderr *bytes.Buffer) phase.Command {
	return phase.Command{Path: "/bin/bash", Args: []string{"-c", script}, Dir: "/", Stdout: stdout, Stderr: stderr}
}

func TestRunKeepsOutputsApart(t *testing.T) {
	t.Parallel()
	var out, err bytes.Buffer
	status, runErr := bash("echo out; echo err >&2; pwd; exit 3", &out, &err).Run(t.Context())
	require.NoError(t, runErr)
	require.Equal(t, 3, status)
	require.Equal(t, "out\n/\n", out.String())
	require.Equal(t, "err\n", err.String())
}

func TestRunTellsWhatCannotBeStarted(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	_, err := phase.Command{Path: "/nonesuch", Dir: "/", Stdout: &out, Stderr: &out}.Run(t.Context())
	require.ErrorIs(t, err, phase.ErrNotStarted)
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, cause)
	defer cancel()
	var out bytes.Buffer
	begun := time.Now()
	_, err := bash("trap '' TERM; sleep 1000 & sleep 1000", &out, &out).Run(ctx)
	require.ErrorIs(t, err, cause)
	require.Less(t, time.Since(begun), 20*time.Second)
	_, err = bash("true", &out, &out).Run(ctx)
	require.ErrorIs(t, err, cause)
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

// A log that cannot be written must not end the build by a broken pipe.
func TestRunSurvivesABrokenLog(t *testing.T) {
	t.Parallel()
	c := phase.Command{Path: "/bin/bash", Args: []string{"-c", "head -c 1000000 /dev/zero && exit 5"}, Stdout: brokenWriter{}, Stderr: brokenWriter{}}
	status, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 5, status)
}

func TestBoundedDropsTheRest(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b := phase.NewBounded(&out, 5, "!")
	for range 3 {
		n, err := b.Write([]byte("abc"))
		require.NoError(t, err)
		require.Equal(t, 3, n)
	}
	require.Equal(t, "abcab!", out.String())
	require.True(t, b.Full())

	c := phase.NewCapture(2)
	_, err := c.Write([]byte("ab"))
	require.NoError(t, err)
	require.False(t, c.Full())
	_, err = c.Write([]byte("c"))
	require.NoError(t, err)
	require.True(t, c.Full())
	require.Equal(t, "ab", string(c.Bytes()))
}
