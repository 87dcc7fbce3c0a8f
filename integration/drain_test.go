package integration

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	parser "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// syslogServer keeps what it is sent over TCP.
type syslogServer struct {
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	messages []*rfc5424.SyslogMessage
}

func newSyslogServer(t *testing.T) *syslogServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &syslogServer{listener: listener}
	s.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	})
	t.Cleanup(func() { _ = listener.Close(); s.running.Wait() })
	return s
}

func (s *syslogServer) serve(conn net.Conn) {
	defer conn.Close()
	octetcounting.NewParser(parser.WithMaxMessageLength(1<<20), parser.WithListener(func(r *parser.Result) {
		if message, ok := r.Message.(*rfc5424.SyslogMessage); ok {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.messages = append(s.messages, message)
		}
	})).Parse(conn)
}

// of are the lines of the instance with a number, in the order in which they came.
func (s *syslogServer) of(index int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, m := range s.messages {
		if *m.ProcID == "[APP/PROC/WEB/"+strconv.Itoa(index)+"]" {
			lines = append(lines, strings.TrimSuffix(*m.Message, "\n"))
		}
	}
	return lines
}

// has fails until an instance's line has come.
func (s *syslogServer) has(index int, line string) func() error {
	return func() error {
		if lines := s.of(index); !slices.Contains(lines, line) {
			return fmt.Errorf("there is no %q among the %d lines of instance %d", line, len(lines), index)
		}
		return nil
	}
}

// TestDrainAcrossTheDeathOfAWorker sends the log of an app to a drain while a worker is killed: no line is lost, not even those
// that were written while none was there.
func TestDrainAcrossTheDeathOfAWorker(t *testing.T) {
	const app, password = "drained", "hunter2-of-the-drain"
	server := newSyslogServer(t)
	source := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(source, "run"), []byte(`trap 'echo last words >&2; exit 0' TERM
for ((n = 0; ; n++)); do echo "tick $n"; sleep 0.1; done
`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(source, "Procfile"), []byte("web: exec bash ./run\n"), 0o600))
	_, err := shared.Starter(t.Context(), "push", source, "--name", app, "-i", "2", "--no-route",
		"--drain", "syslog://someone:"+password+"@"+server.listener.Addr().String()+"/path?token="+password)
	require.NoError(t, err)
	removed := sync.OnceFunc(func() { remove(t, shared, app) })
	defer removed()
	eventually(t, later, server.has(0, "tick 10"))
	eventually(t, later, server.has(1, "tick 10"))

	status, err := shared.Control.App(t.Context(), app)
	require.NoError(t, err)
	number := nodeNumber(t, status.Instances[0].Node)
	before := killWorker(t, number)
	eventually(t, later, func() error { return replaced(number, before) })
	index := status.Instances[0].Index
	last := lastTick(server.of(index))
	eventually(t, later, server.has(index, "tick "+strconv.Itoa(last+30)))
	removed()
	for index := range 2 {
		eventually(t, soon, server.has(index, "last words"))
		require.NoError(t, inOrderFromZero(server.of(index)))
	}

	server.mu.Lock()
	first := server.messages[0]
	server.mu.Unlock()
	assert.Equal(t, app, *first.Hostname)
	assert.Equal(t, app, *first.Appname)
	assert.Contains(t, []string{"0", "1"}, (*first.StructuredData)["tags@47450"]["instance_id"])
	clean(t, shared)
	kept, err := filepath.Glob(filepath.Join(shared.Data, "nodes", "*", "base", "drains", "*"))
	require.NoError(t, err)
	assert.Empty(t, kept, "the positions of an instance go with it")
	logs, err := filepath.Glob(filepath.Join(shared.Data, "logs", "*.log"))
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	for _, log := range logs {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		assert.NotContains(t, string(text), password)
	}
}

// lastTick is the highest number that has come.
func lastTick(lines []string) int {
	last := -1
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscanf(line, "tick %d", &n); err == nil {
			last = max(last, n)
		}
	}
	return last
}

// inOrderFromZero tells whether no tick is missing, and each one that comes for the first time comes after those before it.
func inOrderFromZero(lines []string) error {
	next := 0
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscanf(line, "tick %d", &n); err != nil {
			continue
		}
		if n > next {
			return fmt.Errorf("tick %d came, and tick %d did not", n, next)
		}
		next = max(next, n+1)
	}
	if next == 0 {
		return errors.New("no tick came")
	}
	return nil
}
