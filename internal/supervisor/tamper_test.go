package supervisor_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/runspec"
)

// What stands where the runner puts an exit status is the app's to replace: it keeps nobody waiting, and costs no memory.
func TestWhatAnAppPutsInPlaceOfItsExitStatus(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a fifo": func(path string) error { return unix.Mkfifo(path, 0o644) },
		"a large file": func(path string) error {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(path, 1<<40)
		},
		"a link out":  func(path string) error { return os.Symlink("/proc/self/status", path) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNodeTest(t)
			a := n.start(t, "i")
			path := filepath.Join(a.root, runspec.PathExitStatus)
			require.NoError(t, put(path))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			told := make(chan api.InstanceExit, 1)
			go func() {
				exit, err := n.supervisor.ExitOnRecord(ctx, "i")
				if err == nil {
					told <- exit
				}
			}()
			select {
			case exit := <-told:
				require.Equal(t, api.InstanceExit{Status: -1, Description: api.ExitNotDetermined}, exit)
			case <-ctx.Done():
				t.Fatal("it waits for what the app has put there")
			}
		})
	}
}

// An app that deletes the mark of its launch runs on all the same, also where its workflow does not know its job.
func TestAppWithoutItsMarkIsFoundAgain(t *testing.T) {
	n := newNodeTest(t)
	a := n.start(t, "i")
	require.NoError(t, os.Remove(filepath.Join(a.root, runspec.PathLaunched)))
	running := a.running(api.StateRunning)
	running.Job = 0
	n.temporal.is("i", running)
	n.die()
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	n.temporal.expect(t, "i", resumed(true))
}
