package activities_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/crashes"
	"github.com/durable-dea/dea/internal/diskuse"
	"github.com/durable-dea/dea/internal/drain"
	"github.com/durable-dea/dea/internal/registrar"
	"github.com/durable-dea/dea/internal/supervisor"
	"github.com/durable-dea/dea/internal/wardentest"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// instanceTest is a node with a real wardend and runner, whose worker can die and come back.
type instanceTest struct {
	*node
	server     *wardentest.Server
	temporal   *temporalWorld
	supervisor *supervisor.Supervisor
	containers *activities.Containers
	// drains are nil unless drain was called, and routes unless a test sets them.
	drains  *drain.Manager
	routes  *registrar.Registrar
	message api.StartMessage
	// disk is how full the disk may be, from the next begin on.
	disk diskuse.Threshold
	// said is the log of the node's droplets.
	said bytes.Buffer
}

const anInstance = "7d1f-instance"

// newInstanceTest has a droplet in the cache whose web process is script.
func newInstanceTest(t *testing.T, script string) *instanceTest {
	t.Helper()
	n := newNode(t)
	content := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(content, "app"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(content, "logs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(content, "app", "run"), []byte(script), 0o755))
	packed, err := archive.PackFile(t.Context(), content, filepath.Join(n.base, "droplet.tgz"))
	require.NoError(t, err)
	droplet, err := os.Open(filepath.Join(n.base, "droplet.tgz"))
	require.NoError(t, err)
	defer droplet.Close()
	require.NoError(t, n.droplets.Put(packed.SHA1, droplet))
	i := &instanceTest{node: n, server: wardentest.Start(t), temporal: newTemporalWorld()}
	i.message = api.StartMessage{
		AppID: "app", Version: "v", Name: "app", SHA1: packed.SHA1, ExecutableURI: "http://127.0.0.1/none", Stack: "host",
		StartCommand: "exec bash ./run", Limits: api.Limits{MemoryMB: 64, DiskMB: 64}, HealthCheckTimeout: 20,
	}
	i.begin(t)
	t.Cleanup(func() { i.supervisor.Close() })
	return i
}

// begin is what a worker does when it starts.
func (i *instanceTest) begin(t *testing.T) {
	t.Helper()
	log := hclog.NewNullLogger()
	i.supervisor = supervisor.New(supervisor.Deps{
		Node: "n", Warden: i.server.Client, Temporal: i.temporal, Workspaces: i.workspaces, Log: log,
	})
	i.containers = activities.NewContainers(activities.ContainersDeps{
		Warden: i.server.Client, Config: i.config, Workspaces: i.workspaces, Cache: i.droplets,
		Droplets: activities.NewDroplets(activities.DropletsDeps{
			Node: "n", Cache: i.droplets, Disk: i.disk, HTTP: i.http, Log: hclog.New(&hclog.LoggerOptions{Output: &i.said}),
		}),
		Routes: i.routes, Drains: i.drains, Supervisor: i.supervisor, Crashes: i.crashes(), Runner: filepath.Dir(wardentest.Program("dea-runner")), Log: log,
	})
}

// die is what kill -9 leaves of a worker: nothing.
func (i *instanceTest) die(t *testing.T) {
	t.Helper()
	i.supervisor.Close()
	i.begin(t)
}

func (i *instanceTest) crashes() *crashes.Store {
	return crashes.New(crashes.Options{
		BaseDir: i.config.BaseDir, Lifetime: time.Hour,
	})
}

func (i *instanceTest) create(t *testing.T) activities.CreateResult {
	t.Helper()
	created, err := execute(t.Context(), t, i.containers.Create,
		activities.CreateParams{InstanceID: anInstance, Message: i.message})
	require.NoError(t, err)
	return created
}

func (i *instanceTest) launch(t *testing.T, created activities.CreateResult) error {
	t.Helper()
	_, err := execute(t.Context(), t, i.containers.Launch,
		activities.LaunchParams{InstanceID: anInstance, Message: i.message, Created: created})
	return err
}

func (i *instanceTest) retire(t *testing.T, params activities.RetireParams) {
	t.Helper()
	params.InstanceID, params.Message = anInstance, i.message
	_, err := execute(t.Context(), t, silently(i.containers.Retire), params)
	require.NoError(t, err)
	list, err := i.server.Client.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	require.Empty(t, list.GetHandles())
}

// home is the instance's home directory on the node.
func (i *instanceTest) home(t *testing.T) string {
	t.Helper()
	info, err := i.server.Client.Info(t.Context(), &wardenpb.InfoRequest{Handle: proto.String(anInstance)})
	require.NoError(t, err)
	return filepath.Join(info.GetContainerPath(), "home", "vcap")
}

func (i *instanceTest) awaitFile(t *testing.T, name string) string {
	t.Helper()
	var content []byte
	require.Eventually(t, func() bool {
		var err error
		content, err = os.ReadFile(filepath.Join(i.home(t), name))
		return err == nil && len(content) > 0
	}, patience, 5*time.Millisecond)
	return string(content)
}

// writesOnce notes each time that it is started, and stays.
const writesOnce = `echo started >> "$HOME/../tmp/starts"; sleep 600 & wait`

func TestInstanceRunsAndStops(t *testing.T) {
	i := newInstanceTest(t, `trap 'echo bye > "$BYE"; exit 0' TERM; echo up > "$HOME/../tmp/up"; while :; do sleep 0.05; done`)
	bye := filepath.Join(t.TempDir(), "bye")
	i.message.Env = []string{"BYE=" + bye}
	created := i.create(t)
	require.NotZero(t, created.HostPort)
	require.NoError(t, i.launch(t, created))
	i.awaitFile(t, "tmp/up")
	i.temporal.is(anInstance, api.StateRunning)
	i.retire(t, activities.RetireParams{Created: created, Graceful: true})
	require.FileExists(t, bye, "the app was let end by itself")
	require.Empty(t, i.temporal.heard(anInstance), "a stop that was asked for is no news")
	i.retire(t, activities.RetireParams{Created: created, Graceful: true})
}

func TestEndIsToldOnce(t *testing.T) {
	i := newInstanceTest(t, `until [ -e "$HOME/../tmp/go" ]; do sleep 0.02; done; exit 42`)
	require.NoError(t, i.launch(t, i.create(t)))
	i.temporal.is(anInstance, api.StateRunning)
	require.NoError(t, os.WriteFile(filepath.Join(i.home(t), "tmp", "go"), nil, 0o644))
	<-i.temporal.told
	require.Equal(t, []api.InstanceExit{{Status: 42, Description: api.ExitAppExited}}, i.temporal.heard(anInstance))
	i.retire(t, activities.RetireParams{KeepLogs: true})
}

func TestWorkerThatDiesFindsItsInstanceAgain(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	created := i.create(t)
	require.NoError(t, i.launch(t, created))
	i.awaitFile(t, "tmp/starts")
	i.die(t)
	require.NoError(t, i.launch(t, created), "the second attempt goes on with the job of the first")
	require.Equal(t, "started\n", i.awaitFile(t, "tmp/starts"))
	i.retire(t, activities.RetireParams{})
}

func TestInstanceThatEndedWhileNoWorkerLookedIsNotStartedAgain(t *testing.T) {
	i := newInstanceTest(t, `echo started >> "$HOME/../tmp/starts"; exit 7`)
	i.message.URIs = []string{"app.localhost"}
	created := i.create(t)
	err := i.launch(t, created)
	exit, ok := api.StartFailure(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, api.InstanceExit{Status: 7, Description: api.ExitAppExited}, exit)
	i.die(t)
	require.Equal(t, api.ErrStartFailed, api.Explain(i.launch(t, created), "").Type)
	require.Equal(t, "started\n", i.awaitFile(t, "tmp/starts"))
	i.retire(t, activities.RetireParams{})
}

func TestHalfMadeContainerIsMadeAnew(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.create(t)
	require.NoError(t, os.WriteFile(filepath.Join(i.home(t), "tmp", "left"), nil, 0o644))
	i.die(t)
	created := i.create(t)
	require.NoFileExists(t, filepath.Join(i.home(t), "tmp", "left"))
	require.NoError(t, i.launch(t, created))
	i.retire(t, activities.RetireParams{})
}

func TestPortIsWaitedFor(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.message.URIs = []string{"app.localhost"}
	created := i.create(t)
	listener, err := net.Listen("tcp", created.Address) // The app's own listening, as far as the check can tell.
	require.NoError(t, err)
	defer listener.Close()
	require.NoError(t, i.launch(t, created))
	i.retire(t, activities.RetireParams{})
}

func TestInstanceThatDoesNotListenIsGivenUp(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.message.URIs, i.message.HealthCheckTimeout = []string{"app.localhost"}, 1
	err := i.launch(t, i.create(t))
	require.Equal(t, api.ErrorInfo{Type: api.ErrStartFailed, Message: api.ExitHealthCheck}, api.Explain(err, ""))
	i.retire(t, activities.RetireParams{})
}

func TestMissingStartCommand(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.message.StartCommand, i.message.URIs = "", []string{"app.localhost"}
	err := i.launch(t, i.create(t))
	require.Equal(t, api.ErrorInfo{Type: api.ErrStartFailed, Message: api.ExitMissingCommand}, api.Explain(err, ""))
	i.retire(t, activities.RetireParams{})
}

func TestLogsOfACrashAreKept(t *testing.T) {
	i := newInstanceTest(t, `echo last words; ln -s /etc/passwd "$HOME/../logs/link"; mkfifo "$HOME/../logs/fifo"; exit 1`)
	i.message.URIs = []string{"app.localhost"}
	require.Error(t, i.launch(t, i.create(t)))
	i.retire(t, activities.RetireParams{KeepLogs: true})
	kept := filepath.Join(i.crashes().Dir(anInstance), "logs")
	said, err := os.ReadFile(filepath.Join(kept, "stdout.log"))
	require.NoError(t, err)
	require.Equal(t, "last words\n", string(said))
	require.NoFileExists(t, filepath.Join(kept, "link"))
	require.NoFileExists(t, filepath.Join(kept, "fifo"))
}

// A droplet can be fetched again, and the logs of a crash cannot.
func TestAFullDiskTakesDropletsBeforeCrashes(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.disk = diskuse.Threshold{Dir: i.base, Blocks: 1e-12}
	i.die(t)
	unused := i.largeDroplet(t)
	require.NoError(t, i.launch(t, i.create(t)))
	i.retire(t, activities.RetireParams{KeepLogs: true})
	require.DirExists(t, filepath.Join(i.crashes().Dir(anInstance), "logs"))
	_, here := i.droplets.Has(unused)
	require.False(t, here)
	_, here = i.droplets.Has(i.message.SHA1)
	require.True(t, here, "it was in use until its instance was gone")
	require.Contains(t, i.said.String(), "the node's disk is fuller than it may be, removed droplets that nobody uses: sha1=[\""+unused+"\"]")
}

// A crash and a stop can arrive together: the container is stopped, and the logs are still to be kept.
func TestLogsOfAStoppedContainerAreKept(t *testing.T) {
	i := newInstanceTest(t, `echo last words; exec sleep 600`)
	created := i.create(t)
	require.NoError(t, i.launch(t, created))
	require.Equal(t, "last words\n", i.awaitFile(t, "logs/stdout.log"))
	_, err := i.server.Client.Stop(t.Context(), &wardenpb.StopRequest{Handle: proto.String(anInstance), Kill: proto.Bool(true)})
	require.NoError(t, err)
	i.retire(t, activities.RetireParams{Created: created, KeepLogs: true})
	requireFile(t, filepath.Join(i.crashes().Dir(anInstance), "logs", "stdout.log"), []byte("last words\n"))
	i.retire(t, activities.RetireParams{Created: created, KeepLogs: true})
}

// ledger has a reservation for the instance of the test.
func (i *instanceTest) ledger() api.NodeStatus {
	return api.NodeStatus{Node: "n", Reservations: []api.Reservation{i.message.Reservation(anInstance)}}
}

func TestResumeLinksAgain(t *testing.T) {
	i := newInstanceTest(t, `until [ -e "$HOME/../tmp/go" ]; do sleep 0.02; done; exit 9`)
	require.NoError(t, i.launch(t, i.create(t)))
	i.temporal.is(anInstance, api.StateRunning)
	i.die(t)
	require.NoError(t, i.supervisor.Resume(t.Context(), i.ledger()))
	<-i.temporal.told // That it was found.
	require.Empty(t, i.temporal.heard(anInstance))
	require.NoError(t, os.WriteFile(filepath.Join(i.home(t), "tmp", "go"), nil, 0o644))
	<-i.temporal.told
	require.Equal(t, []api.InstanceExit{{Status: 9, Description: api.ExitAppExited}}, i.temporal.heard(anInstance))
	i.retire(t, activities.RetireParams{})
}

func TestResumeTellsOfWhatEndedMeanwhile(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	require.NoError(t, i.launch(t, i.create(t)))
	i.awaitFile(t, "tmp/starts")
	i.temporal.is(anInstance, api.StateRunning)
	i.die(t)
	_, err := i.server.Client.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: proto.String(anInstance)})
	require.NoError(t, err)
	require.NoError(t, i.supervisor.Resume(t.Context(), i.ledger()))
	require.Equal(t, []api.InstanceExit{{Status: -1, Description: api.ExitNotDetermined}}, i.temporal.heard(anInstance))
}

func TestResumeLeavesWhatStillStarts(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.temporal.is(anInstance, api.StateStarting)
	require.NoError(t, i.supervisor.Resume(t.Context(), i.ledger()), "it has no container yet")
	i.create(t)
	require.NoError(t, i.supervisor.Resume(t.Context(), i.ledger()), "it has no job yet")
	require.Empty(t, i.temporal.heard(anInstance))
	i.retire(t, activities.RetireParams{})
}

func TestReapTakesOnlyWhatWasSeenTwice(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	handles := func() []string {
		list, err := i.server.Client.List(t.Context(), &wardenpb.ListRequest{})
		require.NoError(t, err)
		return list.GetHandles()
	}
	i.create(t)
	require.NoError(t, i.supervisor.Reap(t.Context(), api.NodeStatus{}))
	require.Equal(t, []string{anInstance}, handles(), "at the first sighting it may just have been booked")
	require.NoError(t, i.supervisor.Reap(t.Context(), i.ledger()))
	require.NoError(t, i.supervisor.Reap(t.Context(), api.NodeStatus{}))
	require.Equal(t, []string{anInstance}, handles(), "it was owned in between")
	require.NoError(t, i.supervisor.Reap(t.Context(), api.NodeStatus{}))
	require.Empty(t, handles())
}

func TestReapGivesBackWhatNobodyHolds(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	ledger := api.NodeStatus{Node: "n"}
	for id, state := range map[string]api.InstanceState{"starts": api.StateStarting, "ended": api.StateDeleted, "unknown": ""} {
		if state != "" {
			i.temporal.is(id, state)
		}
		ledger.Reservations = append(ledger.Reservations, i.message.Reservation(id))
	}
	require.NoError(t, i.supervisor.Reap(t.Context(), ledger))
	require.Empty(t, i.temporal.released)
	require.NoError(t, i.supervisor.Reap(t.Context(), ledger))
	require.ElementsMatch(t, []string{"ended", "unknown"}, i.temporal.released)
}

func TestKilledAppIsTold(t *testing.T) {
	i := newInstanceTest(t, `echo $$ > "$HOME/../tmp/pid"; sleep 600 & wait`)
	require.NoError(t, i.launch(t, i.create(t)))
	i.temporal.is(anInstance, api.StateRunning)
	pid := 0
	require.Eventually(t, func() bool {
		_, err := fmt.Sscan(i.awaitFile(t, "tmp/pid"), &pid)
		return err == nil
	}, patience, 5*time.Millisecond)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	<-i.temporal.told
	require.Equal(t, []api.InstanceExit{{Status: 128 + 9, Description: api.ExitAppExited}}, i.temporal.heard(anInstance))
	i.retire(t, activities.RetireParams{})
}

func TestReapTakesWorkspacesThatNobodyOwns(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	for _, task := range []string{"mine", "left/over"} {
		_, err := i.workspaces.Create(task)
		require.NoError(t, err)
	}
	stage := api.StageWorkflowID("app", "mine")
	i.temporal.isWorkflow(stage, api.StateRunning)
	ledger := api.NodeStatus{Node: "n", Reservations: []api.Reservation{
		{ID: api.StagingHandle("mine"), Kind: api.KindStaging, Workflow: stage},
	}}
	require.NoError(t, i.supervisor.Reap(t.Context(), ledger))
	require.DirExists(t, i.workspaces.Path("left/over").Dir())
	require.NoError(t, i.supervisor.Reap(t.Context(), ledger))
	require.NoDirExists(t, i.workspaces.Path("left/over").Dir())
	require.DirExists(t, i.workspaces.Path("mine").Dir())
}

func TestReapTakesWhatATerminatedWorkflowLeft(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	require.NoError(t, i.launch(t, i.create(t)))
	ledger := i.ledger() // The workflow that it names is not there.
	ledger.Reservations[0].Owner = api.AppWorkflowID("app")
	require.NoError(t, i.supervisor.Reap(t.Context(), ledger))
	require.NoError(t, i.supervisor.Reap(t.Context(), ledger))
	require.Equal(t, []string{anInstance}, i.temporal.released)
	require.Len(t, i.temporal.changes, 1, "its app is told")
	require.NoError(t, i.supervisor.Reap(t.Context(), api.NodeStatus{}))
	list, err := i.server.Client.List(t.Context(), &wardenpb.ListRequest{})
	require.NoError(t, err)
	require.Empty(t, list.GetHandles())
}
