package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/layers"
)

// TestReboot: after the machine has started anew, containers are there, stopped, can be looked at, copied from and
// limited, and be destroyed; whatever has become of their mounts and rootfs.
func TestReboot(t *testing.T) {
	parts := realOrSkip(t)
	w := startReal(t, parts, "--name", "reboot")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := warden.NewClient(w.Socket())
	t.Cleanup(func() { _ = c.Close() })

	source, root := filepath.Join(w.dir, "source"), filepath.Join(w.dir, "rootfs")
	require.NoError(t, os.Mkdir(source, 0o755))
	require.NoError(t, os.Symlink(parts.rootfs, root))
	for handle, req := range map[string]*wardenpb.CreateRequest{
		"plain":   {},
		"mounted": {BindMounts: []*wardenpb.CreateRequest_BindMount{{SrcPath: &source, DstPath: proto.String("/data"), Mode: wardenpb.CreateRequest_BindMount_RW.Enum()}}},
		"rootfs":  {Rootfs: &root},
	} {
		req.Handle = proto.String(handle)
		_, err := c.Create(ctx, req)
		require.NoError(t, err)
		_, err = c.Run(ctx, &wardenpb.RunRequest{Handle: req.Handle, Script: proto.String("echo kept > file")})
		require.NoError(t, err)
	}
	job, err := c.Spawn(ctx, &wardenpb.SpawnRequest{Handle: proto.String("plain"), Script: proto.String("sleep 1000")})
	require.NoError(t, err)
	reboot(t, w, "plain", "mounted", "rootfs")
	require.NoError(t, os.Remove(source))
	require.NoError(t, os.Remove(root))
	w.Start()

	list, err := c.List(ctx, &wardenpb.ListRequest{})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"plain", "mounted", "rootfs"}, list.GetHandles())
	for _, handle := range list.GetHandles() {
		info, err := c.Info(ctx, &wardenpb.InfoRequest{Handle: &handle})
		require.NoError(t, err)
		require.Equal(t, "stopped", info.GetState())
		require.NotEmpty(t, info.GetEvents())
		_, err = c.LimitMemory(ctx, &wardenpb.LimitMemoryRequest{Handle: &handle, LimitInBytes: proto.Uint64(64 << 20)})
		require.NoError(t, err, "limits work when it is stopped")
		to := t.TempDir()
		_, err = c.CopyOut(ctx, &wardenpb.CopyOutRequest{Handle: &handle, SrcPath: proto.String("/home/vcap/file"), DstPath: &to})
		if handle == "rootfs" {
			require.ErrorContains(t, err, "command exited with failure")
			continue
		}
		require.NoError(t, err, handle)
		require.FileExists(t, filepath.Join(to, "file"))
	}
	end, err := c.Link(ctx, &wardenpb.LinkRequest{Handle: proto.String("plain"), JobId: job.JobId})
	require.NoError(t, err)
	require.EqualValues(t, 255, end.GetExitStatus())
	for _, handle := range list.GetHandles() {
		_, err := c.Destroy(ctx, &wardenpb.DestroyRequest{Handle: &handle})
		require.NoError(t, err)
	}
}

// reboot does to a server's containers what a new start of the machine does.
func reboot(t *testing.T, w *wardend, handles ...string) {
	t.Helper()
	w.End(syscall.SIGKILL)
	for _, handle := range handles {
		dir := filepath.Join(w.depot(), "containers", handle)
		raw, err := os.ReadFile(filepath.Join(dir, "oci.json"))
		require.NoError(t, err)
		var rec struct {
			PID  int
			Boot string
		}
		require.NoError(t, json.Unmarshal(raw, &rec))
		require.NoError(t, unix.Kill(rec.PID, unix.SIGKILL))
		require.Eventually(t, func() bool { return unix.Kill(rec.PID, 0) != nil }, 10*time.Second, time.Millisecond)
		other := strings.ReplaceAll(string(raw), rec.Boot, "another")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "oci.json"), []byte(other), 0o600))
	}
	require.NoError(t, layers.Unmount(w.depot()))
	for _, pattern := range []string{"/sys/fs/cgroup/*/wardend-reboot/*/*", "/sys/fs/cgroup/*/wardend-reboot/*"} {
		groups, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, group := range groups {
			if info, err := os.Stat(group); err == nil && info.IsDir() {
				require.Eventually(t, func() bool { return unix.Rmdir(group) == nil }, 10*time.Second, 10*time.Millisecond, group)
			}
		}
	}
}

// TestNameIsTaken: a second wardend of the same name is refused, and the first one's containers stay.
func TestNameIsTaken(t *testing.T) {
	parts := realOrSkip(t)
	w := startReal(t, parts, "--name", "taken")
	c := warden.NewClient(w.Socket())
	t.Cleanup(func() { _ = c.Close() })
	res, err := c.Create(t.Context(), &wardenpb.CreateRequest{})
	require.NoError(t, err)
	second := exec.Command(parts.program, "--socket", filepath.Join(w.dir, "s2"), "--depot", filepath.Join(w.dir, "second"), "--rootfs", parts.rootfs,
		"--pool-network", "10.99.0.0/22", "--name", "taken")
	out, err := second.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "another wardend's")
	require.Contains(t, string(out), w.depot())
	run, err := c.Run(t.Context(), &wardenpb.RunRequest{Handle: res.Handle, Script: proto.String("exit 3")})
	require.NoError(t, err)
	require.EqualValues(t, 3, run.GetExitStatus())
}

// TestNameChanges: what a killed server without containers left under its name goes when the depot gets another one.
func TestNameChanges(t *testing.T) {
	parts := realOrSkip(t)
	w := startReal(t, parts, "--name", "former")
	left := func(name string) (found []string) {
		conn, err := nftables.New()
		require.NoError(t, err)
		tables, err := conn.ListTables()
		require.NoError(t, err)
		for _, table := range tables {
			if strings.Contains(table.Name, name) {
				found = append(found, table.Name)
			}
		}
		groups, err := filepath.Glob("/sys/fs/cgroup/*/wardend-" + name)
		require.NoError(t, err)
		return append(found, groups...)
	}
	w.End(syscall.SIGKILL)
	require.NotEmpty(t, left("former"))
	w.flags = append(w.flags, "--name", "latter")
	w.Start()
	require.Empty(t, left("former"))
	require.NotEmpty(t, left("latter"))
	w.End(syscall.SIGTERM)
	require.Empty(t, left("latter"))
}

// TestRootOfALivingContainer: a server whose mount namespace does not have a container's root, as a service's that gets
// a new one at each start, leaves the container alone, and mounts nothing a second time.
func TestRootOfALivingContainer(t *testing.T) {
	parts := realOrSkip(t)
	w := startReal(t, parts)
	c := warden.NewClient(w.Socket())
	t.Cleanup(func() { _ = c.Close() })
	res, err := c.Create(t.Context(), &wardenpb.CreateRequest{})
	require.NoError(t, err)
	job, err := c.Spawn(t.Context(), &wardenpb.SpawnRequest{Handle: res.Handle, Script: proto.String("echo kept > file; sleep 1000")})
	require.NoError(t, err)
	w.End(syscall.SIGKILL)
	root := filepath.Join(w.depot(), "containers", res.GetHandle(), "tmp/rootfs")
	require.NoError(t, layers.Unmount(root))
	w.Start()
	info, err := c.Info(t.Context(), &wardenpb.InfoRequest{Handle: res.Handle})
	require.NoError(t, err)
	require.Equal(t, "active", info.GetState())
	require.Empty(t, info.GetEvents())
	require.Equal(t, []uint64{uint64(job.GetJobId())}, info.GetJobIds())
	mounted, err := layers.Mounted(root)
	require.NoError(t, err)
	require.False(t, mounted)
	to := t.TempDir()
	_, err = c.CopyOut(t.Context(), &wardenpb.CopyOutRequest{Handle: res.Handle, SrcPath: proto.String("/home/vcap/file"), DstPath: &to})
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(to, "file"))
	_, err = c.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: res.Handle})
	require.NoError(t, err)
}

// TestDepotMovedAway: a server whose depot was moved away while a container lived frees what is its own by name, and
// serves.
func TestDepotMovedAway(t *testing.T) {
	w := startReal(t, realOrSkip(t), "--name", "moved")
	c := warden.NewClient(w.Socket())
	t.Cleanup(func() { _ = c.Close() })
	res, err := c.Create(t.Context(), &wardenpb.CreateRequest{})
	require.NoError(t, err)
	_, err = c.Spawn(t.Context(), &wardenpb.SpawnRequest{Handle: res.Handle, Script: proto.String("sleep 1000")})
	require.NoError(t, err)
	w.End(syscall.SIGKILL)
	away := w.depot() + ".away"
	require.NoError(t, unix.Unmount(w.depot(), unix.MNT_DETACH))
	require.NoError(t, os.Rename(w.depot(), away))
	w.Start()
	list, err := c.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	require.Empty(t, list.GetHandles())
	groups, err := filepath.Glob("/sys/fs/cgroup/*/wardend-moved/" + res.GetHandle())
	require.NoError(t, err)
	require.Empty(t, groups, "its processes have ended")
	require.NoError(t, os.RemoveAll(away))
}
