package real

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/sandbox"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

const (
	later = 90 * time.Second
	pause = 50 * time.Millisecond
)

func TestMain(m *testing.M) {
	if code, done := sandbox.Enter(); done {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// realRoot gives a directory that containers' users may pass through, and a root file system in it, or says why there can
// be no real containers.
func realRoot(t *testing.T) (dir, rootfs string) {
	t.Helper()
	if err := sandbox.Check(); err != nil {
		t.Skip(err)
	}
	_, crun := exec.LookPath("crun")
	_, runc := exec.LookPath("runc")
	if crun != nil && runc != nil && os.Getenv("WARDEND_TEST_REAL") == "" {
		t.Skip("there is neither crun nor runc")
	}
	dir, err := os.MkdirTemp("", "real")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711)) //nolint:gosec // as it says
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })

	wardend, err := stack.Bin("wardend")
	require.NoError(t, err)
	rootfs = filepath.Join(dir, "rootfs")
	out, err := exec.CommandContext(t.Context(), wardend, "rootfs", "host", rootfs, //nolint:gosec // the project's
		"--exclude", "/usr/local", "--exclude", "/usr/share", "--exclude", "/usr/include", "--exclude", "/usr/lib/gcc").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir, rootfs
}

// startReal starts a stack of one node with real containers, or says why there can be none.
func startReal(t *testing.T) *stack.Stack {
	t.Helper()
	dir, rootfs := realRoot(t)
	s, err := stack.Start(t.Context(), stack.Options{Data: filepath.Join(dir, "data"), Flags: []string{"--backend", "oci", "--rootfs", rootfs}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s
}

// TestPush: an app is staged in a real container, its instances run in others, it goes on when worker and wardend are
// killed, and nothing of it is left.
func TestPush(t *testing.T) {
	s := startReal(t)
	ctx := t.Context()
	source, err := stack.Example("static")
	require.NoError(t, err)
	_, err = s.Starter(ctx, "push", source, "--name", "site", "--instances", "2")
	require.NoError(t, err)
	answering(t, s)
	t.Run("isolated", func(t *testing.T) { isolated(t, s) })
	t.Run("app directory", func(t *testing.T) { appDirectory(t, s) })
	t.Run("session", func(t *testing.T) { session(t, s) })

	for name, find := range map[string]func(int) (stack.Process, error){"worker": s.Worker, "wardend": s.Wardend} {
		process, err := find(1)
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(process.PID, syscall.SIGKILL))
		require.Eventually(t, func() bool {
			now, err := find(1)
			return err == nil && now.PID != process.PID
		}, later, pause, "the %s is started again", name)
		answering(t, s)
	}
	_, err = s.Starter(ctx, "delete", "site")
	require.NoError(t, err)
	require.NoError(t, s.Control.AwaitGone(ctx, "site"))
	require.Eventually(t, func() bool {
		left, err := s.Containers()
		return err == nil && len(left) == 0
	}, later, pause, "no container is left")
}

// answering waits until both instances run and answer.
func answering(t *testing.T, s *stack.Stack) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var app api.AppStatus
		require.NoError(c, s.StarterJSON(t.Context(), &app, "ps", "site"))
		require.Equal(c, 2, app.Running)
		for _, instance := range app.Instances {
			require.NoError(c, asks(t.Context(), instance.Address))
		}
	}, later, pause)
}

func asks(ctx context.Context, address string) error {
	status, _, err := stack.Get(ctx, "http://"+address)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s answers with %d", address, status)
	}
	return err
}

// isolated looks into an instance as its wardend sees it.
func isolated(t *testing.T, s *stack.Stack) {
	t.Helper()
	c := warden.NewClient(s.Nodes[0].WardenSocket)
	defer func() { _ = c.Close() }()
	list, err := c.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetHandles(), 2)
	for _, handle := range list.GetHandles() {
		res, err := c.Run(t.Context(), &wardenpb.RunRequest{
			Handle: &handle, Script: proto.String("id -un; cat /proc/1/cmdline | tr '\\0' ' ' | cut -d' ' -f1; ls -d /home/vcap/app"),
		})
		require.NoError(t, err)
		require.Equal(t, "vcap\n/.wardend-init\n/home/vcap/app\n", res.GetStdout(), res.GetStderr())
		require.Less(t, res.GetInfo().GetMemoryStat().GetHierarchicalMemoryLimit(), uint64(64<<30), "its memory is limited")
	}
}

// appDirectory looks for /app in an instance, which is to lead to the app.
func appDirectory(t *testing.T, s *stack.Stack) {
	t.Helper()
	c := warden.NewClient(s.Nodes[0].WardenSocket)
	defer func() { _ = c.Close() }()
	list, err := c.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	for _, handle := range list.GetHandles() {
		res, err := c.Run(t.Context(), &wardenpb.RunRequest{Handle: &handle, Script: proto.String("readlink -e /app")})
		require.NoError(t, err)
		assert.Equal(t, "/home/vcap/app\n", res.GetStdout(), res.GetStderr())
	}
}
