package initproc

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAnInitWithTooManyOpenFilesLetsInLater(t *testing.T) {
	dir := startInit(t)
	pid := connect(t, dir, Events{}).PID()
	var before unix.Rlimit
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before))
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: before.Max}, nil))
	done := make(chan error, 1)
	go func() {
		c, err := Connect(t.Context(), dir, Events{})
		if err == nil {
			c.Close()
		}
		done <- err
	}()
	require.Eventually(t, func() bool {
		return strings.Contains(lastWords(dir), "too many open files")
	}, wait, time.Millisecond, "it says so in its log")
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil))
	require.NoError(t, <-done)
}
