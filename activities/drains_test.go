package activities_test

import (
	"bufio"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/drain"
)

// received is what has come to a drain, which reads it by lines.
type received struct {
	mu    sync.Mutex
	lines []string
}

func (r *received) has(part string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}

// drain gives the instance a service whose drain is the result's, and another that has none of use.
func (i *instanceTest) drain(t *testing.T) *received {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &received{}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					r.mu.Lock()
					r.lines = append(r.lines, lines.Text())
					r.mu.Unlock()
				}
			})
		}
	})
	manager, err := drain.New(drain.Options{
		BaseDir: i.config.BaseDir, Node: "n", MaxAge: time.Hour, Max: 10, Log: hclog.NewNullLogger(),
		Networks: drain.Networks{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		manager.Close()
		_ = listener.Close()
		running.Wait()
	})
	i.drains = manager
	i.message.Services = []api.Service{
		{Name: "my logs", SyslogDrainURL: "syslog://u:hunter2@" + listener.Addr().String()},
		{Name: "it's `new`", SyslogDrainURL: "https://u:hunter2@logs.example.com"},
	}
	i.die(t) // for the next to have them
	return r
}

func TestDrainGetsAllOfAnInstance(t *testing.T) {
	i := newInstanceTest(t, `trap 'echo last words; exit 0' TERM; echo I am up; while :; do sleep 0.05; done`)
	r := i.drain(t)
	created := i.create(t)
	require.NoError(t, i.launch(t, created))
	came := func(part string) {
		t.Helper()
		require.Eventually(t, func() bool { return r.has(part) }, time.Minute, 10*time.Millisecond, part)
	}
	came("I am up")
	i.retire(t, activities.RetireParams{Graceful: true})
	came("last words")
	came("[dea] the syslog drain of service \"it's `new`\" is left out: drains over HTTPS are not supported")
	require.False(t, r.has("hunter2"))
}

// TestDrainGetsWhatAnAppSaidThatDidNotStart is also what becomes of one that ended while no worker was there.
func TestDrainGetsWhatAnAppSaidThatDidNotStart(t *testing.T) {
	i := newInstanceTest(t, `printf 'cannot go on'; exit 3`)
	r := i.drain(t)
	created := i.create(t)
	i.message.URIs = []string{"app.localhost"} // so that it is waited for
	require.Error(t, i.launch(t, created))
	i.die(t)
	i.retire(t, activities.RetireParams{KeepLogs: true})
	require.Eventually(t, func() bool { return r.has("cannot go on") }, time.Minute, 10*time.Millisecond)
}
