package server

import (
	"context"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
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
	socket = tempSocket(t)
	start, size := pool.DefaultRange()
	ports, err := pool.NewPorts(start, size)
	require.NoError(t, err)
	networks, err := pool.NewNetworks(netip.MustParsePrefix("10.254.0.0/24"), nil)
	require.NoError(t, err)
	registry, err := container.Open(t.Context(), container.Options{
		Depot: t.TempDir(), Backend: process.New(hclog.NewNullLogger(), []string{"/proc/self/exe", "init"}),
		Ports: ports, Networks: networks, GraceTime: 3600, OutputLimit: 1 << 20, Log: hclog.NewNullLogger(),
	})
	require.NoError(t, err)
	listener, err := Listen(t.Context(), socket, 0o600)
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

func TestListen(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o660, 0o777} {
		socket := tempSocket(t)
		l, err := Listen(t.Context(), socket, mode)
		require.NoError(t, err)
		info, err := os.Stat(socket)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm())
		_, err = Listen(t.Context(), socket, mode)
		require.ErrorContains(t, err, "another server is listening there")
		l.SetUnlinkOnClose(false)
		require.NoError(t, l.Close())
		l, err = Listen(t.Context(), socket, mode)
		require.NoError(t, err, "a dead server's socket is replaced")
		require.NoError(t, l.Close())
		require.NoFileExists(t, socket)
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Listen(t.Context(), file, 0o600)
	require.ErrorContains(t, err, "something else than a socket")
	_, err = Listen(t.Context(), "/no/such/dir/s", 0o600)
	require.ErrorIs(t, err, syscall.ENOENT)
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
	listener, err := Listen(t.Context(), tempSocket(t), 0o600)
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

// FuzzServer: whatever a client sends, the server goes on, and answers the next one.
func FuzzServer(f *testing.F) {
	_, socket := start(f, 1<<16)
	c := client(f, socket)
	_, err := c.Create(f.Context(), &wardenpb.CreateRequest{Handle: proto.String("h")})
	require.NoError(f, err)
	for _, seed := range []string{
		"", "0\r\n\r\n", "4\r\n\x08\x5b\x12\x00\r\n", "8\r\n\x08\x5d\x12\x04\x0a\x02hi\r\n", "99999\r\nx", "7\r\n\x08\x0e\x12\x03\x0a\x01h\r\n",
		"9\r\n\x08\x16\x12\x05\x0a\x01h\x10\x01\r\n", "7\r\n\x08\x1f\x12\x03\x0a\x01h\r\n", "7\r\n\x08\x33\x12\x03\x0a\x01h\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, _ = conn.Write(in) // it may be closed before the end
		_ = conn.CloseWrite()
		r := warden.NewReader(conn, 0)
		for {
			if _, err := r.Message(); err != nil {
				break
			}
		}
		_, err = c.Ping(t.Context(), &wardenpb.PingRequest{})
		require.NoError(t, err)
	})
}
