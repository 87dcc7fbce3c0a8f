package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

// inert is a backend whose containers are directories of the depot and nothing else: scripts and paths that chance has
// written are neither run nor copied, and no process is left behind when the fuzzing ends a worker in the middle.
// Everything in front of the backend is real.
type inert struct{}

func (inert) Name() string { return "inert" }

func (inert) Networked() bool { return true }

func (inert) Check(spec backend.Spec) error {
	if spec.Rootfs != "" {
		return fmt.Errorf("rootfs %s not found", spec.Rootfs)
	}
	return nil
}

func (inert) Create(_ context.Context, spec backend.Spec, _ backend.Events) (backend.Container, error) {
	return inertContainer{spec}, nil
}

func (inert) Open(_ context.Context, spec backend.Spec, _ backend.Events) (backend.Container, error) {
	return inertContainer{spec}, initproc.ErrLost
}

func (inert) Remove(context.Context, backend.Spec) error { return nil }

func (inert) Sweep(context.Context, []string) error { return nil }

func (inert) Close() error { return nil }

type inertContainer struct{ spec backend.Spec }

func (c inertContainer) Path() string { return c.spec.Dir }

func (c inertContainer) Addresses() (host, inside netip.Addr) {
	return c.spec.Network.Addr().Next(), c.spec.Network.Addr().Next().Next()
}

func (inertContainer) Init() *initproc.Client { return nil }

func (c inertContainer) InitDir() string { return c.spec.Dir }

func (inertContainer) Job(bool, []initproc.Rlimit) initproc.SpawnSpec { return initproc.SpawnSpec{} }

func (inertContainer) NetIn(context.Context, uint32, uint32) error { return nil }

func (inertContainer) NetOut(context.Context, *wardenpb.NetOutRequest) error { return nil }

func (inertContainer) Limit(context.Context, backend.Limits) error { return nil }

func (inertContainer) CopyIn(context.Context, string, string) error { return nil }

func (inertContainer) CopyOut(context.Context, string, string, string) error { return nil }

func (inertContainer) OutOfMemory() bool { return false }

func (inertContainer) EndOrphans(context.Context) error { return nil }

func (inertContainer) Stats(context.Context) (backend.Stats, error) { return backend.Stats{}, nil }

func (inertContainer) Close() {}

// FuzzServer: whatever a client sends, the server goes on, and answers the next one.
func FuzzServer(f *testing.F) {
	_, socket := startOn(f, 1<<16, inert{})
	c := client(f, socket)
	_, err := c.Create(f.Context(), &wardenpb.CreateRequest{Handle: proto.String("h")})
	require.NoError(f, err)
	for _, seed := range []string{
		"", "0\r\n\r\n", "4\r\n\x08\x5b\x12\x00\r\n", "8\r\n\x08\x5d\x12\x04\x0a\x02hi\r\n", "99999\r\nx", "7\r\n\x08\x0e\x12\x03\x0a\x01h\r\n",
		"9\r\n\x08\x16\x12\x05\x0a\x01h\x10\x01\r\n", "7\r\n\x08\x1f\x12\x03\x0a\x01h\r\n", "7\r\n\x08\x33\x12\x03\x0a\x01h\r\n",
		"10\r\n\x08\x15\x12\x06\x0a\x01h\x12\x01x\r\n", "10\r\n\x08\x17\x12\x06\x0a\x01h\x12\x01x\r\n", "4\r\n\x08\x5c\x12\x00\r\n",
		"7\r\n\x08\x0b\x12\x03\x1a\x01g\r\n7\r\n\x08\x0d\x12\x03\x0a\x01g\r\n",
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
		onlyH(t, c)
	})
}

// onlyH removes the containers that chance has made, and makes anew the one that it knows.
func onlyH(t *testing.T, c *warden.Client) {
	t.Helper()
	all, err := c.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	for _, handle := range all.GetHandles() {
		if handle != "h" {
			_, err := c.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: &handle})
			require.NoError(t, err)
		}
	}
	_, err = c.Create(t.Context(), &wardenpb.CreateRequest{Handle: proto.String("h")})
	if err != nil {
		require.ErrorIs(t, err, warden.ErrHandleInUse)
	}
}
