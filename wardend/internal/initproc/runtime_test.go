package initproc

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// initPath is where the containers have the init.
const initPath = "/.wardend-init"

// bundle writes the least that a container needs which runs this machine's programs.
func bundle(t testing.TB, top, program, id string, args []string) string {
	t.Helper()
	dir := filepath.Join(top, "bundle")
	root := filepath.Join(dir, "rootfs")
	for _, sub := range []string{"proc", "dev", "sys", "usr", "tmp", "mnt"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, sub), 0o755)) //nolint:gosec // for the users of the container
	}
	for _, sub := range []string{"bin", "sbin", "lib", "lib64"} {
		if target, err := os.Readlink("/" + sub); err == nil {
			require.NoError(t, os.Symlink(target, filepath.Join(root, sub)))
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, initPath), nil, 0o600))
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: testBase, Size: testSize}}
	capabilities := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
		"CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT", "CAP_SETPCAP", "CAP_SYS_RESOURCE",
	}
	spec := &specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: Environment(), NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=1777"}},
			{Destination: "/usr", Type: "bind", Source: "/usr", Options: []string{"rbind", "ro"}},
			{Destination: initPath, Type: "bind", Source: program, Options: []string{"bind", "ro"}},
		},
		Linux: &specs.Linux{
			UIDMappings: ids, GIDMappings: ids, CgroupsPath: "/" + id,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace},
				{Type: specs.PIDNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.NetworkNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
			},
		},
	}
	var err error
	spec.Linux.Seccomp, err = seccomp.GetDefaultProfile(spec)
	require.NoError(t, err)
	raw, err := json.Marshal(spec)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600))
	return dir
}

// inRuntime starts an init as process 1 of a container with Docker's seccomp profile.
func inRuntime(t testing.TB, o boxOptions) *box {
	t.Helper()
	needRoot(t)
	program, err := runtimeOnce()
	if err != nil {
		t.Skip(err.Error())
	}
	top := shortDir(t)
	b := &box{dir: filepath.Join(top, "state"), program: initPath}
	in, err := Prepare(b.dir, testBase, testBase)
	require.NoError(t, err)
	defer in.Close()
	files, args := in.Command(initPath, o.join, o.version)
	id := "wdinit" + strings.TrimPrefix(filepath.Base(top), "init")
	command := func(args ...string) *exec.Cmd {
		return exec.Command(program, append([]string{"--root", filepath.Join(top, "runtime")}, args...)...)
	}
	pidFile := filepath.Join(top, "pid")
	cmd := command("run", "--detach", "--preserve-fds", strconv.Itoa(len(files)), "--pid-file", pidFile,
		"--bundle", bundle(t, top, copySelf(t, top), id, args), id)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = in.Log, in.Log, files
	t.Cleanup(func() { _ = command("delete", "--force", id).Run() })
	if err := cmd.Run(); err != nil {
		t.Skipf("%s makes no container here: %v%s", program, err, lastWords(b.dir))
	}
	raw, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	b.pid, err = strconv.Atoi(string(raw))
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Kill(b.pid, unix.SIGKILL) })
	return b
}
