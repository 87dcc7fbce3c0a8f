package real

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// sink keeps the messages that come to a drain, each of which ends with its line.
type sink struct {
	net.Listener

	mu       sync.Mutex
	messages []string
}

func listen(t *testing.T) *sink {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &sink{Listener: listener}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.read(conn) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); running.Wait() }) // the stack, which is stopped before, has closed its ends
	return s
}

func (s *sink) read(conn net.Conn) {
	defer conn.Close()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		s.mu.Lock()
		s.messages = append(s.messages, lines.Text())
		s.mu.Unlock()
	}
}

// all are the messages so far.
func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.messages...)
}

func (s *sink) awaits(t *testing.T, end string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, message := range s.all() {
			if strings.HasSuffix(message, end) {
				return true
			}
		}
		return false
	}, later, pause, "%q does not come", end)
}

// TestDrains: what is written in a real container comes to the drain, to its last words and each line once, and no drain
// leads into another container.
func TestDrains(t *testing.T) {
	const lines = 500
	drain := listen(t)
	s := startReal(t)
	ctx := t.Context()
	source := t.TempDir()
	for name, text := range map[string]string{
		"Procfile": "web: exec bash ./run\n",
		"run": fmt.Sprintf(`trap 'echo last words >&2; exit 0' TERM
for ((n = 0; n < %d; n++)); do echo "tick $n"; done
while :; do sleep 0.1; done
`, lines),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(source, name), []byte(text), 0o600))
	}
	_, err := s.Starter(ctx, "push", source, "--name", "says", "--no-route", "--drain", "syslog://"+drain.Addr().String())
	require.NoError(t, err)
	drain.awaits(t, fmt.Sprintf("] tick %d", lines-1))

	_, err = s.Starter(ctx, "push", source, "--name", "pries", "--no-route",
		"--drain", "syslog://"+net.JoinHostPort(containerIP(ctx, t, s, "says"), "8080"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(filepath.Join(s.Data, "logs", "worker-1.log"))
		require.NoError(t, err)
		return strings.Contains(string(text), "drains may not lead there")
	}, later, pause)

	for _, app := range []string{"says", "pries"} {
		_, err = s.Starter(ctx, "delete", app)
		require.NoError(t, err)
		require.NoError(t, s.Control.AwaitGone(ctx, app))
	}
	drain.awaits(t, "] last words")
	var ticks []string
	for _, message := range drain.all() {
		if _, tick, found := strings.Cut(message, "] tick "); found {
			ticks = append(ticks, tick)
		}
	}
	require.Len(t, ticks, lines)
	for n, tick := range ticks {
		require.Equal(t, fmt.Sprint(n), tick)
	}
}

// containerIP is the address of the container of an app's one instance.
func containerIP(ctx context.Context, t *testing.T, s *stack.Stack, name string) string {
	t.Helper()
	app, err := s.Control.App(ctx, name)
	require.NoError(t, err)
	require.Len(t, app.Instances, 1)
	c := warden.NewClient(s.Nodes[0].WardenSocket)
	defer func() { _ = c.Close() }()
	info, err := c.Info(ctx, &wardenpb.InfoRequest{Handle: proto.String(app.Instances[0].InstanceID)})
	require.NoError(t, err)
	return info.GetContainerIp()
}
