package activities_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/internal/runspec"
)

// The node's limits of what an app may say reach its launch.
func TestInstanceSaysNoMoreThanTheNodeAllows(t *testing.T) {
	i := newInstanceTest(t, `head -c 1000000 /dev/zero | tr '\0' '\n'; echo said > "$HOME/../tmp/said"; sleep 600 & wait`)
	i.config.Instance.LogRate, i.config.Instance.LogBurst = 4096, 1<<16
	created := i.create(t)
	require.NoError(t, i.launch(t, created))
	i.awaitFile(t, "tmp/said")
	log := filepath.Base(runspec.PathLogs) + "/" + filepath.Base(runspec.PathStdout)
	require.Eventually(t, func() bool {
		return strings.Contains(i.awaitFile(t, log), "over the limit of 4096 bytes a second\n")
	}, patience, 20*time.Millisecond)
	require.Less(t, len(i.awaitFile(t, log)), 1<<18)
	i.retire(t, activities.RetireParams{Created: created, KeepLogs: true})
}
