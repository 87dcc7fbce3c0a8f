package supervisor_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/internal/wardentest"
	"github.com/durable-dea/dea/internal/workspace"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// patience bounds what is waited for. Nothing of the tests takes nearly as long.
const patience = 30 * time.Second

// nodeTest is a node with a real wardend, whose worker's supervisor can die and come back.
type nodeTest struct {
	server     *wardentest.Server
	temporal   *temporal
	supervisor *supervisor.Supervisor
	workspaces *workspace.Store
	watchers   []supervisor.Watcher
	finish     func(context.Context, string)
}

func newNodeTest(t *testing.T) *nodeTest {
	t.Helper()
	n := &nodeTest{server: wardentest.Start(t), temporal: newTemporal(), workspaces: workspace.New(t.TempDir())}
	n.begin()
	t.Cleanup(func() { n.supervisor.Close() })
	return n
}

func (n *nodeTest) begin() { n.supervisor = supervisor.New(n.deps(0)) }

func (n *nodeTest) deps(orphanAge time.Duration) supervisor.Deps {
	return supervisor.Deps{
		Node: "n", Warden: n.server.Client, Temporal: n.temporal, Workspaces: n.workspaces, OrphanAge: orphanAge,
		Watchers: n.watchers, Finish: n.finish, Log: hclog.NewNullLogger(),
	}
}

// die is what kill -9 leaves of a worker: nothing.
func (n *nodeTest) die() {
	n.supervisor.Close()
	n.begin()
}

// app is an instance of a test: a container with a job that leaves the marks of the runner.
type app struct {
	id    string
	root  string
	job   uint32
	about supervisor.Instance
}

// staysUntil ends with the status that is written to a file named end in its container's /tmp.
const staysUntil = `
cd "$HOME/../../tmp" && touch .dea-launched
until [ -s end ]; do sleep 0.02; done
cp end .dea-exit-status; exit $(cat end)`

// spawn runs an instance's job in a container of its own.
func (n *nodeTest) spawn(t *testing.T, id, script string) *app {
	t.Helper()
	client := n.server.Client
	_, err := client.Create(t.Context(), &wardenpb.CreateRequest{Handle: proto.String(id)})
	require.NoError(t, err)
	job, err := client.Spawn(t.Context(), &wardenpb.SpawnRequest{
		Handle: proto.String(id), Script: proto.String(script), DiscardOutput: proto.Bool(true),
	})
	require.NoError(t, err)
	info, err := client.Info(t.Context(), &wardenpb.InfoRequest{Handle: proto.String(id)})
	require.NoError(t, err)
	a := &app{id: id, root: info.GetContainerPath(), job: job.GetJobId()}
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(a.root, "tmp", ".dea-launched"))
		return err == nil
	}, patience, 5*time.Millisecond)
	never := api.StartMessage{}
	a.about = supervisor.Instance{
		ID: id, AppID: "app", Version: "v", URIs: []string{"app.localhost"}, Address: "127.0.0.1:1", Ready: true,
		ContainerIP: info.GetContainerIp(), ContainerPath: info.GetContainerPath(), Limits: api.Limits{MemoryMB: 64},
		Liveness: never.Liveness(), Readiness: never.Readiness(),
	}
	n.temporal.is(id, a.running(api.StateRunning))
	return a
}

// start is what a launch does: it watches the job and, when it is healthy, has it looked after.
func (n *nodeTest) start(t *testing.T, id string) *app {
	t.Helper()
	a := n.spawn(t, id, staysUntil)
	n.lookAfter(a)
	return a
}

func (n *nodeTest) lookAfter(a *app) {
	n.supervisor.Watch(a.id, a.job)
	n.supervisor.LookAfter(a.about)
}

// end has the job end with a status.
func (a *app) end(t *testing.T, status string) {
	t.Helper()
	part := filepath.Join(a.root, "tmp", "part")
	require.NoError(t, os.WriteFile(part, []byte(status), 0o644))
	require.NoError(t, os.Rename(part, filepath.Join(a.root, "tmp", "end")))
}

// running is what the instance's workflow answers.
func (a *app) running(state api.InstanceState) api.RunningInstance {
	return api.RunningInstance{
		Status: api.InstanceStatus{
			InstanceID: a.id, AppID: a.about.AppID, Index: a.about.Index, Version: a.about.Version, State: state,
			Node: "n", Address: a.about.Address, Unready: !a.about.Ready,
		},
		ContainerPort: a.about.ContainerPort, Job: a.job, Liveness: a.about.Liveness, Readiness: a.about.Readiness,
		URIs: a.about.URIs, Limits: a.about.Limits,
	}
}

func ledger(apps ...*app) api.NodeStatus {
	status := api.NodeStatus{Node: "n"}
	for _, a := range apps {
		status.Reservations = append(status.Reservations, api.Reservation{
			ID: a.id, Kind: api.KindInstance, AppID: "app", Workflow: api.InstanceWorkflowID(a.id),
		})
	}
	return status
}

// port listens as an app does, at the address that the process backend's containers share, until close.
func port(t *testing.T, at uint32) (number uint32, closed func()) {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4zero, Port: int(at)})
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	return uint32(listener.Addr().(*net.TCPAddr).Port), func() { listener.Close() }
}

// often is the quickest check that there is.
func often(kind api.CheckType) api.HealthCheck {
	return api.HealthCheck{Type: kind, Endpoint: "/", Interval: 1, InvocationTimeout: 1, Threshold: 1}
}
