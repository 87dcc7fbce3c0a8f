package bus_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/devserver/internal/bus"
)

// free is an address of the loopback at which nothing listens.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	return listener.Addr().String()
}

// within waits for what is sent, and fails rather than wait for ever.
func within[T any](t *testing.T, sent <-chan T) {
	t.Helper()
	select {
	case <-sent:
	case <-time.After(30 * time.Second):
		require.Fail(t, "nothing was sent")
	}
}

func TestOnlyThosePassWhoKnowThePassword(t *testing.T) {
	options := bus.Options{
		Address: free(t), PasswordFile: filepath.Join(t.TempDir(), "password"), Log: hclog.NewNullLogger(),
	}
	server, err := bus.Start(options)
	require.NoError(t, err)
	info, err := os.Stat(options.PasswordFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	_, err = nats.Connect("nats://" + options.Address)
	require.ErrorIs(t, err, nats.ErrAuthorization)
	_, err = nats.Connect("nats://dea:wrong@" + options.Address)
	require.ErrorIs(t, err, nats.ErrAuthorization)
	// Asked whether it is connected, a client that has not yet seen its connection end says yes.
	back := make(chan struct{}, 1)
	client, err := nats.Connect(server.URL().Reveal(), nats.ReconnectWait(time.Millisecond), nats.MaxReconnects(-1),
		nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	require.NoError(t, err)
	defer client.Close()

	// The same password after a restart: a client that was connected comes back.
	heard := make(chan *nats.Msg, 1)
	_, err = client.ChanSubscribe("x", heard)
	require.NoError(t, err)
	server.Stop()
	again, err := bus.Start(options)
	require.NoError(t, err)
	defer again.Stop()
	require.Equal(t, server.URL().Reveal(), again.URL().Reveal())
	within(t, back)
	require.NoError(t, client.Publish("x", nil))
	within(t, heard)
}

func TestAServerThatCannotListenIsNotStarted(t *testing.T) {
	dir := t.TempDir()
	options := bus.Options{Address: "127.0.0.1", PasswordFile: filepath.Join(dir, "password"), Log: hclog.NewNullLogger()}
	_, err := bus.Start(options)
	require.Error(t, err)
	options.Address = free(t)
	require.NoError(t, os.WriteFile(options.PasswordFile, []byte("\n"), 0o600))
	_, err = bus.Start(options)
	require.ErrorContains(t, err, "remove it")
}
