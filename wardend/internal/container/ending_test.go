package container

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
	"github.com/durable-dea/dea/wardend/internal/backend"
)

// half is a backend that gives up when it has made something.
type half struct {
	*stuck
	made string
}

func (h *half) Create(_ context.Context, spec backend.Spec, _ backend.Events) (backend.Container, error) {
	h.made = filepath.Join(spec.Dir, "mounted", "somebody's")
	if err := os.MkdirAll(h.made, 0o755); err != nil {
		return nil, err
	}
	return nil, errors.New("no more")
}

// TestCreateThatLeavesSomething: while what a failed create has made cannot be freed, nothing beneath is touched, which
// may be mounted there; its network is nobody else's; and it is tried again.
func TestCreateThatLeavesSomething(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	opts := options(t, depot)
	h := &half{stuck: stick(t, &opts)}
	opts.Backend = using(h)
	r := open(t, opts)
	defer r.Close()
	req := &wardenpb.CreateRequest{Handle: proto.String("half"), Network: proto.String("10.254.0.4")}
	h.left.Store(2)
	_, err := r.Create(t.Context(), req, nil)
	require.ErrorContains(t, err, "no more")
	require.ErrorContains(t, err, "device is busy")
	require.DirExists(t, h.made)
	info, err := r.Info(t.Context(), &wardenpb.InfoRequest{Handle: req.Handle})
	require.NoError(t, err)
	require.Equal(t, "stopped", info.GetState())
	require.Equal(t, []string{"container cannot be destroyed: device is busy"}, info.GetEvents())
	_, err = r.Create(t.Context(), &wardenpb.CreateRequest{Network: req.Network}, nil)
	require.EqualError(t, err, "Could not acquire network: 10.254.0.4")
	_, err = r.Create(t.Context(), req, nil)
	require.ErrorContains(t, err, "already exists")
	_, err = r.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: req.Handle})
	require.ErrorContains(t, err, "device is busy")
	require.DirExists(t, h.made)
	network := netip.MustParsePrefix("10.254.0.4/30")
	require.Eventually(t, func() bool { return r.opts.Networks.Adopt(network) == nil }, wait, tick, "it is tried again")
	require.NoDirExists(t, filepath.Join(depot, containersName, "half"))
	require.Empty(t, handles(t, r))
}

// slow is a container that takes its time with rules and cannot tell what it uses.
type slow struct {
	backend.Container
	began, goOn chan struct{}
}

func (s *slow) NetOut(context.Context, *wardenpb.NetOutRequest) error {
	close(s.began)
	<-s.goOn
	return nil
}

func (*slow) Stats(context.Context) (backend.Stats, error) {
	return backend.Stats{}, errors.New("no such file")
}

// TestDestroyWaitsForRequests: a rule that comes after the removal would be the next container's.
func TestDestroyWaitsForRequests(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	defer r.Close()
	c := create(t, r)
	s := &slow{Container: c.b, began: make(chan struct{}), goOn: make(chan struct{})}
	c.b = s
	ruled, destroyed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := r.NetOut(t.Context(), &wardenpb.NetOutRequest{Handle: &c.handle, Network: proto.String("192.0.2.0/24")})
		ruled <- err
	}()
	<-s.began
	go func() {
		_, err := r.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: &c.handle})
		destroyed <- err
	}()
	<-c.gone
	require.EqualError(t, c.needActive(func() error { return nil }), "unknown handle")
	_, err := c.r.limit(t.Context(), c.handle, func(*backend.Limits) bool { return true })
	require.EqualError(t, err, "unknown handle")
	require.DirExists(t, c.spec.Dir)
	require.Empty(t, destroyed, "it waits")
	close(s.goOn)
	require.EqualError(t, <-ruled, "unknown handle")
	require.NoError(t, <-destroyed)
	require.NoDirExists(t, c.spec.Dir)
}

// TestInfoOfWhatIsLeft: what cannot be read of a stopped container keeps nobody from learning why.
func TestInfoOfWhatIsLeft(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	defer r.Close()
	c := create(t, r)
	c.b = &slow{Container: c.b}
	_, err := r.Info(t.Context(), &wardenpb.InfoRequest{Handle: &c.handle})
	require.ErrorContains(t, err, "no such file")
	_, err = r.Stop(t.Context(), &wardenpb.StopRequest{Handle: &c.handle})
	require.NoError(t, err)
	info, err := r.Info(t.Context(), &wardenpb.InfoRequest{Handle: &c.handle})
	require.NoError(t, err)
	require.Equal(t, "stopped", info.GetState())
	_, err = r.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: &c.handle})
	require.NoError(t, err)
	_, err = r.Info(t.Context(), &wardenpb.InfoRequest{Handle: &c.handle})
	require.EqualError(t, err, "unknown handle")
}
