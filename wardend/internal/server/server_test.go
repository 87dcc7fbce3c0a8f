package server

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/backend/process"
	"github.com/durable-dea/dea/wardend/internal/container"
	"github.com/durable-dea/dea/wardend/internal/initproc"
	"github.com/durable-dea/dea/wardend/internal/pool"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "init" {
		os.Exit(initproc.Main())
	}
	goleak.VerifyTestMain(m)
}

func tempSocket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wardend")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// start serves until the test ends; all containers are destroyed then.
func start(t testing.TB, maxMessage int) (s *Server, socket string) {
	t.Helper()
	return startOn(t, maxMessage, process.New(hclog.NewNullLogger(), []string{"/proc/self/exe", "init"}))
}

func startOn(t testing.TB, maxMessage int, b backend.Backend) (s *Server, socket string) {
	t.Helper()
	socket = tempSocket(t)
	start, size := pool.DefaultRange()
	ports, err := pool.NewPorts(start, size)
	require.NoError(t, err)
	networks, err := pool.NewNetworks(netip.MustParsePrefix("10.254.0.0/24"), nil)
	require.NoError(t, err)
	registry, err := container.Open(t.Context(), container.Options{
		Depot: t.TempDir(), Backend: func(context.Context) (backend.Backend, error) { return b, nil },
		Ports: ports, Networks: networks, GraceTime: 3600, OutputLimit: 1 << 20, Log: hclog.NewNullLogger(),
	})
	require.NoError(t, err)
	listener, err := Listen(t.Context(), socket, 0o600, -1)
	require.NoError(t, err)
	s = New(registry, maxMessage, hclog.NewNullLogger())
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		require.NoError(t, <-served)
		require.NoError(t, registry.DestroyAll(context.Background()))
		registry.Close()
	})
	return s, socket
}

func client(t testing.TB, socket string) *warden.Client {
	t.Helper()
	c := warden.NewClient(socket)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestMessageOverTheLimit(t *testing.T) {
	_, socket := start(t, 1000)
	c := client(t, socket)
	long := string(make([]byte, 1000))
	_, err := c.Echo(t.Context(), &wardenpb.EchoRequest{Message: &long})
	require.ErrorContains(t, err, "more than the 1000 that are allowed")
	short := string(make([]byte, 900))
	_, err = c.Echo(t.Context(), &wardenpb.EchoRequest{Message: &short})
	require.NoError(t, err)
}

func TestShutdownCutsOffAtItsEnd(t *testing.T) {
	s, socket := start(t, 0)
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	// An answer that the client does not read keeps the connection busy.
	long := string(make([]byte, 8<<20))
	go func() { _ = warden.Write(conn, wardenpb.Message_Echo, &wardenpb.EchoRequest{Message: &long}) }()
	one := make([]byte, 1)
	_, err = io.ReadFull(conn, one)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s.Shutdown(ctx)
	require.Error(t, ctx.Err())
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.conns)
}

// TestDrainWaitsForNoOneWhoDoesNotRead: and the end of a job that was not read is not taken.
func TestDrainWaitsForNoOneWhoDoesNotRead(t *testing.T) {
	s, socket := start(t, 0)
	s.lastWrite = 10 * time.Millisecond
	c := client(t, socket)
	created, err := c.Create(t.Context(), &wardenpb.CreateRequest{})
	require.NoError(t, err)
	spawned, err := c.Spawn(t.Context(), &wardenpb.SpawnRequest{Handle: created.Handle, Script: proto.String("head -c 1000000 /dev/zero")})
	require.NoError(t, err)
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	request := &wardenpb.LinkRequest{Handle: created.Handle, JobId: spawned.JobId}
	require.NoError(t, warden.Write(conn, wardenpb.Message_Link, request))
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err, "it is being answered")
	s.Shutdown(context.Background())
	res, settle, err := s.registry.Link(t.Context(), request)
	require.NoError(t, err)
	settle(true)
	require.Len(t, res.GetStdout(), 1000000)
}

// TestShutdownTakesNoOneMore: a connection may have been accepted at the moment when the server was told to end.
func TestShutdownTakesNoOneMore(t *testing.T) {
	s, _ := start(t, 0)
	s.Shutdown(t.Context())
	listener, err := Listen(t.Context(), tempSocket(t), 0o600, -1)
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	client, err := net.Dial("unix", listener.Addr().String())
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	accepted, err := listener.AcceptUnix()
	require.NoError(t, err)
	s.start(accepted)
	require.Empty(t, s.conns)
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// TestAClientThatFloods: more requests than are read ahead, from a client that is gone.
func TestAClientThatFloods(t *testing.T) {
	s, socket := start(t, 0)
	c := client(t, socket)
	created, err := c.Create(t.Context(), &wardenpb.CreateRequest{})
	require.NoError(t, err)
	spawned, err := c.Spawn(t.Context(), &wardenpb.SpawnRequest{Handle: created.Handle, Script: proto.String("sleep 1000")})
	require.NoError(t, err)
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	require.NoError(t, warden.Write(conn, wardenpb.Message_Link, &wardenpb.LinkRequest{Handle: created.Handle, JobId: spawned.JobId}))
	for range 2 * readAhead {
		require.NoError(t, warden.Write(conn, wardenpb.Message_Ping, &wardenpb.PingRequest{}))
	}
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 1
	}, 20*time.Second, 5*time.Millisecond, "its connection is given up although it cannot be read")
	_, err = c.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: created.Handle})
	require.NoError(t, err)
}
