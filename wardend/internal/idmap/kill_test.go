package idmap_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

const makeMany = "WARDEND_IDMAP_MAKE_MANY"

// TestMain ends a child that was not stopped, and leaves a trace of it. Its
// environment is empty, so that the file lies beside the program.
func TestMain(m *testing.M) {
	switch {
	case os.Args[0] == "user-namespace":
		_ = os.WriteFile(ran(), nil, 0o600)
		os.Exit(99)
	case os.Getenv(makeMany) != "":
		fmt.Fprintln(os.Stderr, "ready")
		for {
			if file, err := idmap.UserNamespace(idmap.Range{Host: 100000, Size: 65536}); err == nil {
				file.Close()
			}
		}
	}
	os.Exit(m.Run())
}

// ran is the file that says that a child ran.
func ran() string {
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return program + ".ran"
}

// TestKilledInTheMiddle kills a program that makes namespaces, at any moment:
// its child must neither live on nor run.
func TestKilledInTheMiddle(t *testing.T) {
	needRoot(t)
	for range 50 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), makeMany+"=1")
		output, err := cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		line, err := bufio.NewReader(output).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "ready\n", line)
		// A random moment within some rounds; nothing is waited for.
		<-time.After(time.Duration(rand.Int64N(int64(5 * time.Millisecond))))
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
	}
	require.Eventually(t, func() bool { return len(strays(t)) == 0 }, 5*time.Second, 10*time.Millisecond)
	assert.NoFileExists(t, ran())
}

// strays are the processes of this program that UserNamespace started.
func strays(t *testing.T) []string {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	var found []string
	processes, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, process := range processes {
		line, err := os.ReadFile(process + "/cmdline")
		if err != nil || !strings.HasPrefix(string(line), "user-namespace\x00") {
			continue
		}
		if exe, err := os.Readlink(process + "/exe"); err == nil && exe == program {
			found = append(found, process)
		}
	}
	return found
}
