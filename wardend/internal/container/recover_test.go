package container

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// TestOpenThatIsGivenUpEndsNothing: that an init could not be reached in time says nothing about its container.
func TestOpenThatIsGivenUpEndsNothing(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	c := create(t, r)
	job := spawn(t, c, "sleep 1000")
	r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Open(ctx, options(t, depot))
	require.ErrorIs(t, err, context.Canceled)
	r = open(t, options(t, depot))
	defer r.Close()
	info, err := r.Info(t.Context(), &wardenpb.InfoRequest{Handle: &c.handle})
	require.NoError(t, err)
	require.Equal(t, string(StateActive), info.GetState())
	require.Equal(t, []uint64{uint64(job)}, info.GetJobIds())
}

// TestRecordThatCannotBeRead: only what no server has written makes a container one that was never finished.
func TestRecordThatCannotBeRead(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	c := create(t, r)
	r.Close()
	record := filepath.Join(c.spec.Dir, recordName)
	require.NoError(t, os.Rename(record, record+".aside"))
	require.NoError(t, os.Mkdir(record, 0o700))
	_, err := Open(t.Context(), options(t, depot))
	require.ErrorContains(t, err, recordName)
	require.NoError(t, os.Remove(record))
	require.NoError(t, os.Rename(record+".aside", record))
	r = open(t, options(t, depot))
	defer r.Close()
	c, err = r.find(c.handle)
	require.NoError(t, err)
	require.EqualValues(t, 3, link(t, c, spawn(t, c, "exit 3")).GetExitStatus())
}

// TestDestroyGoesOnAfterARestart: a container that cannot be freed keeps no other from being served.
func TestDestroyGoesOnAfterARestart(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	c, other := create(t, r), create(t, r)
	port, err := r.NetIn(t.Context(), &wardenpb.NetInRequest{Handle: &c.handle})
	require.NoError(t, err)
	c.phase = phaseDestroying
	require.NoError(t, c.save())
	r.Close()

	opts := options(t, depot)
	s := stick(t, &opts)
	s.left.Store(1)
	r = open(t, opts)
	defer r.Close()
	info, err := r.Info(t.Context(), &wardenpb.InfoRequest{Handle: &c.handle})
	require.NoError(t, err)
	require.Equal(t, string(StateStopped), info.GetState())
	require.Equal(t, []string{"container cannot be destroyed: device is busy"}, info.GetEvents())
	require.False(t, r.opts.Ports.Take(port.GetHostPort()), "what it has is still its own")
	require.Eventually(t, func() bool {
		list, err := r.List(t.Context(), &wardenpb.ListRequest{})
		return err == nil && len(list.GetHandles()) == 1 && list.GetHandles()[0] == other.handle
	}, wait, tick)
	require.Eventually(t, func() bool { return r.opts.Ports.Take(port.GetHostPort()) }, wait, tick)
}

// TestStopGoesOnAfterARestart: a server may die between writing a stop down and telling the init.
func TestStopGoesOnAfterARestart(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	c := create(t, r)
	job := spawn(t, c, "sleep 1000")
	c.setStopped()
	require.NoError(t, c.save())
	r.Close()
	r = open(t, options(t, depot))
	defer r.Close()
	c, err := r.find(c.handle)
	require.NoError(t, err)
	require.EqualValues(t, 255, link(t, c, job).GetExitStatus())
}

// TestWhatComesAfterTheEnd: a request that was under way when its container was destroyed leaves nothing behind, and
// does not write over the container that has the handle now.
func TestWhatComesAfterTheEnd(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	first := create(t, r)
	_, err := r.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: &first.handle})
	require.NoError(t, err)
	_, err = r.Create(t.Context(), &wardenpb.CreateRequest{Handle: proto.String(first.handle)}, nil)
	require.NoError(t, err)

	require.EqualError(t, first.save(), "unknown handle")
	port, err := r.opts.Ports.Acquire(t.Context())
	require.NoError(t, err)
	require.False(t, first.keepPort(portRecord{Host: port, Container: port, Pooled: true}))
	require.True(t, r.opts.Ports.Take(port), "it is free again")

	r.Close()
	r = open(t, options(t, depot))
	defer r.Close()
	list, err := r.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{first.handle}, list.GetHandles())
}

// TestDestroyEndsCopies: what is being copied into a container keeps it neither from being destroyed nor lands in the
// next one.
func TestDestroyEndsCopies(t *testing.T) {
	depot := t.TempDir()
	cleanUp(t, depot)
	r := open(t, options(t, depot))
	defer r.Close()
	source := t.TempDir()
	for _, dir := range []string{"a", "b", "c", "d"} {
		require.NoError(t, os.Mkdir(filepath.Join(source, dir), 0o755))
		for n := range 500 {
			require.NoError(t, os.WriteFile(filepath.Join(source, dir, strconv.Itoa(n)), nil, 0o600))
		}
	}
	for range 5 {
		c := create(t, r)
		copied := make(chan error, 1)
		go func() {
			_, err := r.CopyIn(context.Background(), &wardenpb.CopyInRequest{
				Handle: &c.handle, SrcPath: &source, DstPath: proto.String("/tmp/copy/"),
			})
			copied <- err
		}()
		require.Eventually(t, func() bool {
			_, err := os.Stat(filepath.Join(c.b.Path(), "tmp/copy"))
			return err == nil
		}, wait, time.Millisecond)
		_, err := r.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: &c.handle})
		require.NoError(t, err)
		if err := <-copied; err != nil {
			require.EqualError(t, err, "unknown handle")
		}
	}
}
