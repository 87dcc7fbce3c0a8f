package layers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mountAndDie is a wardend that is killed at a step of Mount.
func mountAndDie() {
	dir := os.Getenv(killDir)
	o := Overlay{
		Layers: []string{filepath.Join(dir, "app"), filepath.Join(dir, "stack")},
		Upper:  filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Target: filepath.Join(dir, "rootfs"),
		IDs:      ids(),
		attached: os.Getenv(killOldWay) != "",
		step: func(name string) {
			if name == os.Getenv(killAt) {
				_ = unix.Kill(os.Getpid(), unix.SIGKILL)
				select {}
			}
		},
	}
	fmt.Fprintln(os.Stderr, "not killed:", o.Mount(context.Background()))
	os.Exit(1)
}

func TestKilledInTheMiddle(t *testing.T) {
	for way, steps := range map[string][]string{
		"":    {"cloned", "assembled", "attached"},
		"old": {"cloned", "layer 0", "layer 1", "mounted", "stacked", "assembled", "attached"},
	} {
		for _, step := range steps {
			t.Run(way+step, func(t *testing.T) {
				dir := tempDir(t)
				write(t, dir, "app/file", "app")
				write(t, dir, "stack/file2", "stack")
				before := snapshot(t, filepath.Join(dir, "stack"))
				cmd := exec.Command("/proc/self/exe")
				cmd.Env = append(os.Environ(), killAt+"="+step, killDir+"="+dir, killOldWay+"="+way)
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				require.ErrorAs(t, err, &exit)
				status, ok := exit.Sys().(syscall.WaitStatus)
				require.True(t, ok)
				require.Equal(t, unix.SIGKILL, status.Signal(), "%s", out)
				if way == "" && step != "attached" {
					assert.Empty(t, mountsIn(t, dir), "detached mounts die with their process")
				}

				o := newOverlay(t, dir, "app", "stack")
				require.NoError(t, Unmount(o.Target))
				assert.Empty(t, mountsIn(t, dir))
				assert.Equal(t, before, snapshot(t, filepath.Join(dir, "stack")))
				// And another can be made in the same place.
				require.NoError(t, os.RemoveAll(o.Upper))
				require.NoError(t, os.RemoveAll(o.Work))
				mount(t, o)
				assert.Equal(t, "app", read(t, o.Target, "file"))
			})
		}
	}
}
