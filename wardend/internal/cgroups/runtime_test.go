package cgroups

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
)

// bundle makes what an OCI runtime needs in order to run sleep.
func bundle(t *testing.T, cgroupsPath string) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "rootfs")
	for _, name := range []string{"usr", "proc", "dev"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, name), 0o755)) //nolint:gosec // a container's root
	}
	for _, name := range []string{"bin", "lib", "lib64"} {
		require.NoError(t, os.Symlink("usr/"+name, filepath.Join(root, name)))
	}
	raw, err := json.Marshal(specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: []string{"/bin/sleep", "1000"}, Cwd: "/"},
		Mounts: []specs.Mount{
			{Destination: "/usr", Source: "/usr", Type: "bind", Options: []string{"bind", "ro"}},
			{Destination: "/proc", Source: "proc", Type: "proc"},
		},
		Linux: &specs.Linux{
			CgroupsPath: cgroupsPath,
			Namespaces:  []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}},
		},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600))
	return dir
}

func TestRuntimesPutInitBesideApp(t *testing.T) {
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) {
			path, err := exec.LookPath(name)
			if err != nil {
				t.Skip("not installed")
			}
			m := newManager(t)
			g := newGroup(t, m, "a")
			dir, id := bundle(t, m.RuntimePath("a")), m.instance
			call := func(args ...string) ([]byte, error) {
				said, err := os.Create(filepath.Join(dir, "said"))
				require.NoError(t, err)
				defer said.Close()
				// Crun refuses hybrid mode: it is given a mount namespace without the leftover v2 mount.
				script := `umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" --root "$@"`
				args = append([]string{"-m", "sh", "-c", script, path, filepath.Join(dir, "state")}, args...)
				cmd := exec.CommandContext(t.Context(), "unshare", args...)
				cmd.Stdout, cmd.Stderr = said, said // no pipe: the container has it too
				err = cmd.Run()
				raw, _ := os.ReadFile(said.Name())
				return raw, err
			}
			pidFile := filepath.Join(dir, "pid")
			said, err := call("run", "--detach", "--bundle", dir, "--pid-file", pidFile, id)
			require.NoError(t, err, string(said))
			t.Cleanup(func() { _, _ = call("delete", "-f", id) })

			pid, err := os.ReadFile(pidFile)
			require.NoError(t, err)
			groups, err := os.ReadFile(filepath.Join("/proc", string(pid), "cgroup"))
			require.NoError(t, err)
			for controller, root := range m.roots {
				line := groupOf(string(groups), controller)
				require.True(t, strings.HasSuffix(line, m.RuntimePath("a")), "%s: %s", controller, groups)
				require.DirExists(t, filepath.Join(root, m.RuntimePath("a")), "as seen through the mount")
				require.DirExists(t, filepath.Join(root, filepath.Dir(m.RuntimePath("a")), appName))
				require.Equal(t, filepath.Join(root, filepath.Dir(m.RuntimePath("a"))), filepath.Dir(g.dir(root)))
			}
			said, err = call("delete", "-f", id)
			require.NoError(t, err, string(said))
			require.NoError(t, m.Remove(within(t, soon), "a"))
			for _, root := range m.all {
				require.NoDirExists(t, g.container(root), "what the runtime left above init")
			}
		})
	}
}
