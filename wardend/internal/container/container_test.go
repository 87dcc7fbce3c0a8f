package container

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/backend/process"
	"github.com/durable-dea/dea/wardend/internal/initproc"
	"github.com/durable-dea/dea/wardend/internal/pool"
	"github.com/durable-dea/dea/wardend/internal/proctree"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "init" {
		os.Exit(initproc.Main())
	}
	goleak.VerifyTestMain(m)
}

const (
	wait = 20 * time.Second
	tick = 5 * time.Millisecond
)

func options(t *testing.T, depot string) Options {
	t.Helper()
	start, size := pool.DefaultRange()
	ports, err := pool.NewPorts(start, size)
	require.NoError(t, err)
	networks, err := pool.NewNetworks(netip.MustParsePrefix("10.254.0.0/24"), nil)
	require.NoError(t, err)
	return Options{
		Depot: depot, Backend: using(process.New(hclog.NewNullLogger(), []string{"/proc/self/exe", "init"})), Ports: ports, Networks: networks,
		GraceTime: 3600, OutputLimit: 1 << 20, Log: hclog.NewNullLogger(),
	}
}

// using makes a backend the one that is opened.
func using(b backend.Backend) func(context.Context) (backend.Backend, error) {
	return func(context.Context) (backend.Backend, error) { return b, nil }
}

// stick puts a stuck backend before that of the options.
func stick(t *testing.T, opts *Options) *stuck {
	t.Helper()
	b, err := opts.Backend(t.Context())
	require.NoError(t, err)
	s := &stuck{Backend: b}
	opts.Backend = using(s)
	return s
}

// open opens a depot. All that is in it is destroyed after the test, by a registry of its own.
func open(t *testing.T, opts Options) *Registry {
	t.Helper()
	r, err := Open(t.Context(), opts)
	require.NoError(t, err)
	return r
}

func cleanUp(t *testing.T, depot string) {
	t.Helper()
	t.Cleanup(func() {
		r, err := Open(context.Background(), options(t, depot))
		require.NoError(t, err)
		defer r.Close()
		require.NoError(t, r.DestroyAll(context.Background()))
	})
}

func create(t *testing.T, r *Registry) *Container {
	t.Helper()
	res, err := r.Create(t.Context(), &wardenpb.CreateRequest{}, nil)
	require.NoError(t, err)
	c, err := r.find(res.GetHandle())
	require.NoError(t, err)
	return c
}

func spawn(t *testing.T, c *Container, script string) uint32 {
	t.Helper()
	res, err := c.r.Spawn(t.Context(), &wardenpb.SpawnRequest{Handle: &c.handle, Script: &script})
	require.NoError(t, err)
	return res.GetJobId()
}

func link(t *testing.T, c *Container, job uint32) *wardenpb.LinkResponse {
	t.Helper()
	res, settle, err := c.r.Link(t.Context(), &wardenpb.LinkRequest{Handle: &c.handle, JobId: &job})
	require.NoError(t, err)
	settle(true)
	return res
}

func TestDirNames(t *testing.T) {
	names := map[string]bool{}
	for _, handle := range []string{
		"", ".", "..", "a/b", "/", "a b", "ü", "\x00", "\xff", "-x", "_x", strings.Repeat("x", 80), strings.Repeat("x", 81), "x", "X", "a.b-c_d",
	} {
		name := dirName(handle)
		require.Regexp(t, `^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$`, name, "%q", handle)
		require.False(t, names[name], "%q", handle)
		names[name] = true
	}
	require.Equal(t, "a.b-c_d", dirName("a.b-c_d"), "a safe one is readable")
}

// gone says whether a process has ended; nobody may have reaped it yet.
func gone(pid int) bool {
	stat, err := proctree.Read(pid)
	return errors.Is(err, proctree.ErrGone) || stat.State == 'Z'
}

// TestInitKilled: when a container's init is killed, so that its jobs cannot be followed any more, nothing of them is
// left running, those that had ended keep their status, and the owner is told.
func TestInitKilled(t *testing.T) {
	for name, while := range map[string]func(t *testing.T, r *Registry, kill func()) *Registry{
		"with a server": func(_ *testing.T, r *Registry, kill func()) *Registry {
			kill()
			return r
		},
		"without a server": func(t *testing.T, r *Registry, kill func()) *Registry {
			t.Helper()
			r.Close()
			kill()
			return open(t, options(t, r.opts.Depot))
		},
	} {
		t.Run(name, func(t *testing.T) {
			depot := t.TempDir()
			cleanUp(t, depot)
			r := open(t, options(t, depot))
			c := create(t, r)
			ended := spawn(t, c, "exit 5")
			running := spawn(t, c, "(setsid sleep 1000 & echo $! > pid); touch ready; sleep 1000")
			home := filepath.Join(c.b.Path(), "home/vcap")
			require.Eventually(t, func() bool {
				_, err := os.Stat(filepath.Join(home, "ready"))
				c.mu.Lock()
				defer c.mu.Unlock()
				return err == nil && c.jobs[ended].status.Ended
			}, wait, tick)
			raw, err := os.ReadFile(filepath.Join(home, "pid"))
			require.NoError(t, err)
			pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
			require.NoError(t, err)
			init := c.b.Init().PID()
			r = while(t, r, func() { require.NoError(t, syscall.Kill(init, syscall.SIGKILL)) })
			defer r.Close()
			handle := c.handle
			require.Eventually(t, func() bool {
				info, err := r.Info(t.Context(), &wardenpb.InfoRequest{Handle: &handle})
				return err == nil && info.GetState() == string(StateStopped)
			}, wait, tick)
			c, err = r.find(handle)
			require.NoError(t, err)
			require.EqualValues(t, initproc.ExitKilled, link(t, c, running).GetExitStatus())
			res := link(t, c, ended)
			require.EqualValues(t, 5, res.GetExitStatus())
			require.Equal(t, []string{eventLost}, res.GetInfo().GetEvents())
			require.Eventually(t, func() bool { return gone(pid) }, wait, tick)
			_, err = r.Spawn(t.Context(), &wardenpb.SpawnRequest{Handle: &handle, Script: proto.String("true")})
			require.EqualError(t, err, "Container state must be one of 'active', current state is 'stopped'")
			r.Close()
			r = open(t, options(t, depot))
			defer r.Close()
			_, _, err = r.Link(t.Context(), &wardenpb.LinkRequest{Handle: &handle, JobId: &ended})
			require.EqualError(t, err, "no such job", "its end was taken before")
			_, err = r.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: &handle})
			require.NoError(t, err)
		})
	}
}

// stuck is a backend that cannot free a container the first few times.
type stuck struct {
	backend.Backend
	left atomic.Int32
}

func (s *stuck) Remove(ctx context.Context, spec backend.Spec) error {
	if s.left.Add(-1) >= 0 {
		return errors.New("device is busy")
	}
	return s.Backend.Remove(ctx, spec)
}

func TestDestroyNeverGivesUp(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	opts := options(t, depot)
	s := stick(t, &opts)
	r := open(t, opts)
	defer r.Close()
	c := create(t, r)
	port, err := r.NetIn(t.Context(), &wardenpb.NetInRequest{Handle: &c.handle})
	require.NoError(t, err)
	s.left.Store(2)
	_, err = r.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: &c.handle})
	require.ErrorContains(t, err, "device is busy")
	info, err := r.Info(t.Context(), &wardenpb.InfoRequest{Handle: &c.handle})
	require.NoError(t, err)
	require.Equal(t, "stopped", info.GetState())
	require.Equal(t, []string{"container cannot be destroyed: device is busy"}, info.GetEvents())
	_, err = r.Create(t.Context(), &wardenpb.CreateRequest{Handle: &c.handle}, nil)
	require.ErrorContains(t, err, "already exists")
	require.False(t, r.opts.Ports.Take(port.GetHostPort()), "what it has is still its own")
	_, err = r.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: &c.handle})
	require.Error(t, err, "the second time")
	require.Eventually(t, func() bool { return r.opts.Ports.Take(port.GetHostPort()) }, wait, tick, "it is tried again")
	list, err := r.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	require.Empty(t, list.GetHandles())
	entries, err := os.ReadDir(filepath.Join(depot, containersName))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestOpen(t *testing.T) {
	t.Run("in use", func(t *testing.T) {
		depot := t.TempDir()
		r := open(t, options(t, depot))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := Open(ctx, options(t, depot))
		require.ErrorIs(t, err, ErrDepotInUse)
		opts := options(t, depot)
		opts.DepotWait = time.Millisecond
		_, err = Open(t.Context(), opts)
		require.ErrorIs(t, err, ErrDepotInUse)
		r.Close()
		open(t, options(t, depot)).Close()
	})
	t.Run("another backend's", func(t *testing.T) {
		depot := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(depot, serverName), []byte(`{"version":1,"backend":"oci","jobs":5000}`), 0o600))
		require.NoError(t, os.MkdirAll(filepath.Join(depot, containersName, "x"), 0o755))
		require.Equal(t, "oci", DepotBackend(depot))
		_, err := Open(t.Context(), options(t, depot))
		require.ErrorContains(t, err, "belongs to backend oci")
		require.NoError(t, os.Remove(filepath.Join(depot, containersName, "x")))
		require.Empty(t, DepotBackend(depot), "nothing in it belongs to any")
		cleanUp(t, depot)
		r := open(t, options(t, depot))
		defer r.Close()
		require.Greater(t, spawn(t, create(t, r), "true"), uint32(5000), "ids go on")
		require.Equal(t, process.Name, DepotBackend(depot))
	})
	t.Run("a newer wardend's", func(t *testing.T) {
		depot := t.TempDir()
		dir := filepath.Join(depot, containersName, "x")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, recordName), []byte(`{"version":99}`), 0o600))
		_, err := Open(t.Context(), options(t, depot))
		require.ErrorIs(t, err, errNewer)
		require.FileExists(t, filepath.Join(dir, recordName), "it is left alone")
		require.NoError(t, os.WriteFile(filepath.Join(depot, serverName), []byte(`{"version":99}`), 0o600))
		_, err = Open(t.Context(), options(t, depot))
		require.ErrorIs(t, err, errNewer)
	})
	t.Run("half made", func(t *testing.T) {
		depot := t.TempDir()
		cleanUp(t, depot)
		r := open(t, options(t, depot))
		making, removing, torn := create(t, r), create(t, r), create(t, r)
		kept := create(t, r)
		pid := making.b.Init().PID()
		making.phase, removing.phase = phaseCreating, phaseDestroying
		require.NoError(t, making.save())
		require.NoError(t, removing.save())
		require.NoError(t, os.WriteFile(filepath.Join(torn.spec.Dir, recordName), []byte(`{"version`), 0o600))
		require.NoError(t, os.Mkdir(filepath.Join(depot, containersName, "empty"), 0o755))
		r.Close()
		r = open(t, options(t, depot))
		defer r.Close()
		list, err := r.List(t.Context(), &wardenpb.ListRequest{})
		require.NoError(t, err)
		require.Equal(t, []string{kept.handle}, list.GetHandles())
		require.Eventually(t, func() bool { return gone(pid) }, wait, tick)
		entries, err := os.ReadDir(filepath.Join(depot, containersName))
		require.NoError(t, err)
		require.Len(t, entries, 1)
	})
}

// TestWaitingIsSaid: who starts a second server is told at once why nothing happens.
func TestWaitingIsSaid(t *testing.T) {
	depot := t.TempDir()
	first := open(t, options(t, depot))
	out := make(lines, 100)
	opts := options(t, depot)
	opts.DepotWait = wait
	opts.Log = hclog.New(&hclog.LoggerOptions{Output: out, JSONFormat: true})
	opened := make(chan error, 1)
	go func() {
		r, err := Open(context.Background(), opts)
		if err == nil {
			r.Close()
		}
		opened <- err
	}()
	select {
	case line := <-out:
		require.Contains(t, line, "another wardend is using the depot")
		require.Contains(t, line, depot)
		require.Contains(t, line, wait.String())
	case <-time.After(wait / 2):
		require.Fail(t, "it waits in silence")
	}
	first.Close()
	require.NoError(t, <-opened)
	require.Empty(t, out, "it is said once")
}

// lines is a writer that passes on what is written, as the log writes it: a line at a time.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func TestJobIDsEnd(t *testing.T) {
	depot := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(depot, serverName), []byte(`{"version":1,"backend":"process","jobs":4294967290}`), 0o600))
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	defer r.Close()
	c := create(t, r)
	for want := uint32(4294967291); want != 0; want++ {
		require.Equal(t, want, spawn(t, c, "true"))
	}
	_, err := r.Spawn(t.Context(), &wardenpb.SpawnRequest{Handle: &c.handle, Script: proto.String("true")})
	require.ErrorContains(t, err, "used up")
}

// TestLinkSettles: whoever comes after the end waits for those that are answering, and gets what they could not give.
func TestLinkSettles(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	defer r.Close()
	c := create(t, r)
	job := spawn(t, c, "exit 3")
	_, settle, err := r.Link(t.Context(), &wardenpb.LinkRequest{Handle: &c.handle, JobId: &job})
	require.NoError(t, err)
	got := make(chan error, 1)
	go func() {
		_, settle, err := r.Link(context.Background(), &wardenpb.LinkRequest{Handle: &c.handle, JobId: &job})
		if err == nil {
			settle(true)
		}
		got <- err
	}()
	settle(false)
	require.NoError(t, <-got, "the first client was gone: the second gets it")
	_, _, err = r.Link(t.Context(), &wardenpb.LinkRequest{Handle: &c.handle, JobId: &job})
	require.EqualError(t, err, "no such job")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	job = spawn(t, c, "sleep 1000")
	_, _, err = r.Link(ctx, &wardenpb.LinkRequest{Handle: &c.handle, JobId: &job})
	require.ErrorIs(t, err, context.Canceled)
}

// TestReferencesAreForgotten: a connection that lives long does not keep what is destroyed in memory.
func TestReferencesAreForgotten(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	defer r.Close()
	refs := r.Connect()
	c := create(t, r)
	refs.Name(c.handle)
	refs.Name("nobody")
	require.Len(t, refs.held, 1)
	_, err := r.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: &c.handle})
	require.NoError(t, err)
	require.Empty(t, refs.held)
	refs.Close()
	require.Empty(t, r.references)
}
