package supervisor_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/wardentest"
)

func TestMain(m *testing.M) { os.Exit(wardentest.Main(m)) }

// crash ends the server and every process of its containers, as a machine that loses power does, and starts the server
// again on what is left on the disk.
func crash(t *testing.T, s *wardentest.Server) {
	t.Helper()
	s.Kill()
	depot := s.Depot()
	found, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(t, err)
	killed := 0
	for _, path := range found {
		dir, err := os.Readlink(path)
		if err != nil || !strings.HasPrefix(dir, depot+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		require.NoError(t, err)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		killed++
	}
	require.NotZero(t, killed)
	s.Start()
}
