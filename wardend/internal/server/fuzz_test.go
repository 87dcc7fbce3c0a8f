package server

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
	"github.com/durable-dea/dea/wardend/internal/backend/process"
	"github.com/durable-dea/dea/wardend/internal/initproc"
)

// harmless is the process backend for scripts and paths that chance has written: it has no isolation, so they are
// neither run nor copied. All else is real.
type harmless struct{ backend.Backend }

func (h harmless) Check(spec backend.Spec) error {
	if spec.Rootfs != "" || len(spec.Mounts) > 0 {
		return errors.New("no directories of the host")
	}
	return h.Backend.Check(spec)
}

func (h harmless) Create(ctx context.Context, spec backend.Spec, events backend.Events) (backend.Container, error) {
	c, err := h.Backend.Create(ctx, spec, events)
	if err != nil {
		return c, err
	}
	return harmlessContainer{c}, nil
}

type harmlessContainer struct{ backend.Container }

func (h harmlessContainer) Job(privileged bool, _ []initproc.Rlimit) initproc.SpawnSpec {
	spec := h.Container.Job(privileged, nil)
	spec.Args = []string{"/bin/true"}
	return spec
}

func (harmlessContainer) NetIn(context.Context, uint32, uint32) error { return nil }

func (harmlessContainer) CopyIn(context.Context, string, string) error { return nil }

func (harmlessContainer) CopyOut(context.Context, string, string, string) error { return nil }

// FuzzServer: whatever a client sends, the server goes on, and answers the next one.
func FuzzServer(f *testing.F) {
	_, socket := startOn(f, 1<<16, harmless{process.New(hclog.NewNullLogger(), []string{"/proc/self/exe", "init"})})
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

// onlyH removes the containers that chance has made, each of which is a process, and makes anew the one that it knows.
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
