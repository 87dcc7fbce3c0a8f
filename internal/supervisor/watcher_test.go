package supervisor_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// notes is a watcher that writes down what it hears.
type notes struct {
	mu   sync.Mutex
	told []string
}

func (n *notes) note(what string, i supervisor.Instance) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = append(n.told, fmt.Sprintf("%s %s ready=%t %s", what, i.ID, i.Ready, strings.Join(i.URIs, ",")))
}

func (n *notes) Live(i supervisor.Instance) { n.note("live", i) }
func (n *notes) Gone(i supervisor.Instance) { n.note("gone", i) }

// tells waits for what was heard to be this and no more.
func (n *notes) tells(t *testing.T, want ...string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		n.mu.Lock()
		defer n.mu.Unlock()
		assert.Equal(c, want, n.told)
	}, patience, time.Millisecond)
}

func TestWatchersHearEachChangeInItsOrder(t *testing.T) {
	heard := &notes{}
	n := newNodeTest(t)
	n.watchers = []supervisor.Watcher{heard}
	n.die()
	a := n.start(t, "a")
	n.start(t, "b")
	require.NoError(t, n.supervisor.Route("a", "", []string{"x.localhost"}))
	told := []string{
		"live a ready=true app.localhost", "live b ready=true app.localhost", "live a ready=true x.localhost",
	}
	heard.tells(t, told...)
	a.end(t, "1")
	told = append(told, "gone a ready=true x.localhost")
	heard.tells(t, told...)
	require.NoError(t, n.supervisor.Route("a", "", []string{"y.localhost"}), "it has ended")
	n.supervisor.Forget("a")
	n.supervisor.Forget("b")
	heard.tells(t, append(told, "gone b ready=true app.localhost")...)
}

func TestWatchersHearOfWhatEndedWhileNoWorkerWasThere(t *testing.T) {
	n := newNodeTest(t)
	a, b := n.start(t, "a"), n.start(t, "b")
	n.supervisor.Close()
	_, err := n.server.Client.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: proto.String("a")})
	require.NoError(t, err)
	heard := &notes{}
	n.watchers = []supervisor.Watcher{heard}
	n.begin()
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(a)))
	heard.tells(t, "gone a ready=true app.localhost")
	require.NoError(t, n.supervisor.Resume(t.Context(), ledger(b)))
	heard.tells(t, "gone a ready=true app.localhost", "live b ready=true app.localhost")
	n.supervisor.Close()
	heard.tells(t, "gone a ready=true app.localhost", "live b ready=true app.localhost")
}

func TestWatchersHearOfReadiness(t *testing.T) {
	heard := &notes{}
	n := newNodeTest(t)
	n.watchers = []supervisor.Watcher{heard}
	n.die()
	a := n.spawn(t, "a", staysUntil)
	number, closed := port(t, 0)
	a.about.ContainerIP, a.about.ContainerPort, a.about.Readiness = "127.0.0.1", number, often(api.CheckPort)
	n.lookAfter(a)
	closed()
	heard.tells(t, "live a ready=true app.localhost", "live a ready=false app.localhost")
	_, closed = port(t, number)
	defer closed()
	heard.tells(t, "live a ready=true app.localhost", "live a ready=false app.localhost", "live a ready=true app.localhost")
}
