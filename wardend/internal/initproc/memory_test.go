package initproc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// pss is a process's share of the memory that it uses, in kilobytes.
func pss(t testing.TB, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			kilobytes, err := strconv.Atoi(strings.Fields(value)[0])
			require.NoError(t, err)
			return kilobytes
		}
	}
	require.Fail(t, "the kernel does not tell")
	return 0
}

// BenchmarkMemory measures what an init of wardend's uses once it has run a job, and the processor's time that it takes
// while nothing happens.
func BenchmarkMemory(b *testing.B) {
	program := filepath.Join(b.TempDir(), "wardend")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "github.com/durable-dea/dea/wardend")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(b, err, "%s", out)
	for _, n := range []int{1, 20, 200} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			clients := make([]*Client, 0, n)
			for i := range n {
				dir := filepath.Join(b.TempDir(), strconv.Itoa(i))
				require.NoError(b, Start(dir, []string{program, commandName}))
				ended := make(chan JobStatus, 1)
				c, err := Connect(b.Context(), dir, Events{Ended: func(j JobStatus) { ended <- j }})
				require.NoError(b, err)
				_, err = c.Spawn(b.Context(), script(1, "true"))
				require.NoError(b, err)
				<-ended
				clients = append(clients, c)
			}
			ticks := func() (total uint64) {
				for _, c := range clients {
					stat, err := proctree.Read(c.PID())
					require.NoError(b, err)
					total += stat.User + stat.System
				}
				return total
			}
			before, total := ticks(), 0
			for b.Loop() {
				total = 0
				for _, c := range clients {
					total += pss(b, c.PID())
				}
			}
			b.ReportMetric(float64(total)/float64(n), "PSS-KB/init")
			b.ReportMetric(float64(ticks()-before), "ticks")
			for _, c := range clients {
				require.NoError(b, c.Shutdown(b.Context()))
				c.Close()
			}
		})
	}
}
