package activities_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
)

// serve answers in the place of the app, whose port the machine shares on this backend.
func serve(t *testing.T, at string, handler http.HandlerFunc) {
	t.Helper()
	listener, err := net.Listen("tcp", at)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
}

func TestHTTPIsWaitedFor(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.message.URIs = []string{"app.localhost"}
	i.message.HealthCheck = &api.HealthCheck{Type: api.CheckHTTP, Endpoint: "/up"}
	created := i.create(t)
	var asked atomic.Int32
	serve(t, created.Address, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/up" || asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	require.NoError(t, i.launch(t, created))
	require.EqualValues(t, 3, asked.Load())
	i.retire(t, activities.RetireParams{})
}

func TestAppThatAnswersWithAFaultIsGivenUp(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.message.HealthCheckTimeout = 1
	i.message.HealthCheck = &api.HealthCheck{Type: api.CheckHTTP}
	created := i.create(t)
	serve(t, created.Address, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	err := i.launch(t, created)
	require.Equal(t, api.ErrorInfo{Type: api.ErrStartFailed, Message: api.ExitHealthCheck}, api.Explain(err, ""))
	i.retire(t, activities.RetireParams{})
}

// TestProcessIsEnoughWhereTheMessageSaysSo although the app has routes.
func TestProcessIsEnoughWhereTheMessageSaysSo(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.message.URIs, i.message.HealthCheckTimeout = []string{"app.localhost"}, 5
	i.message.HealthCheck = &api.HealthCheck{Type: api.CheckProcess}
	require.NoError(t, i.launch(t, i.create(t)))
	i.retire(t, activities.RetireParams{})
}

// withStateFile has the droplet ask for a state file.
func (i *instanceTest) withStateFile(t *testing.T) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(i.home(t), "droplet.yaml"), []byte("state_file: app/state.json\n"), 0o644))
}

func TestStateFileGoesBeforeThePort(t *testing.T) {
	i := newInstanceTest(t, `echo '{"state":"STARTING"}' > state.json; echo > ../tmp/up
until [ -e ../tmp/go ]; do sleep 0.02; done; echo '{"state":"RUNNING"}' > state.json; sleep 600 & wait`)
	i.message.URIs, i.message.HealthCheckTimeout = []string{"app.localhost"}, 1
	created := i.create(t)
	i.withStateFile(t)
	done := make(chan error)
	go func() { done <- i.launch(t, created) }()
	i.awaitFile(t, "tmp/up")
	time.Sleep(1200 * time.Millisecond) // The message's time is over; that of state files is not.
	select {
	case err := <-done:
		require.Fail(t, "it is not healthy yet", "%v", err)
	default:
	}
	require.NoError(t, os.WriteFile(filepath.Join(i.home(t), "tmp", "go"), nil, 0o644))
	require.NoError(t, <-done)
	i.retire(t, activities.RetireParams{})
}

// launchInTheMidstOfALook begins a launch, and has the app go on once it is being looked at by a request that it does not
// answer. It gives the launch's outcome.
func (i *instanceTest) launchInTheMidstOfALook(t *testing.T, created activities.CreateResult) <-chan error {
	t.Helper()
	asked := make(chan struct{}, 2)
	serve(t, created.Address, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	done := make(chan error)
	go func() { done <- i.launch(t, created) }()
	<-asked
	require.NoError(t, os.WriteFile(filepath.Join(i.home(t), "tmp", "go"), nil, 0o644))
	return done
}

func TestEndInTheMidstOfALookIsKnownAtOnce(t *testing.T) {
	i := newInstanceTest(t, `until [ -e "$HOME/../tmp/go" ]; do sleep 0.02; done; exit 5`)
	i.message.HealthCheckTimeout = 600
	i.message.HealthCheck = &api.HealthCheck{Type: api.CheckHTTP, InvocationTimeout: 600}
	created := i.create(t)
	done := i.launchInTheMidstOfALook(t, created)
	exit, ok := api.StartFailure(<-done)
	require.True(t, ok)
	require.Equal(t, api.InstanceExit{Status: 5, Description: api.ExitAppExited}, exit)
	i.retire(t, activities.RetireParams{})
}

func TestHealthyInstanceIsLookedAfter(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.message.URIs, i.message.Index = []string{"app.localhost"}, 2
	created := i.create(t)
	serve(t, created.Address, func(http.ResponseWriter, *http.Request) {})
	require.NoError(t, i.launch(t, created))
	require.Len(t, i.supervisor.Instances(), 1)
	found := i.supervisor.Instances()[0]
	require.Equal(t, anInstance, found.ID)
	require.Equal(t, 2, found.Index)
	require.Equal(t, created.Address, found.Address)
	require.Equal(t, created.ContainerPort, found.ContainerPort)
	require.Equal(t, i.message.URIs, found.URIs)
	require.Equal(t, api.CheckPort, found.Liveness.Type)
	require.True(t, found.Ready)
	i.retire(t, activities.RetireParams{})
	require.Empty(t, i.supervisor.Instances())
}

// TestInstanceIsNotReadyBeforeItsReadinessCheckSucceeds: routes would lead to it.
func TestInstanceIsNotReadyBeforeItsReadinessCheckSucceeds(t *testing.T) {
	for name, ready := range map[string]bool{"ready": true, "not yet": false} {
		t.Run(name, func(t *testing.T) {
			i := newInstanceTest(t, writesOnce)
			i.message.ReadinessCheck = &api.HealthCheck{Type: api.CheckHTTP, Endpoint: "/ready"}
			created := i.create(t)
			var serves atomic.Bool
			serves.Store(ready)
			serve(t, created.Address, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/ready" || !serves.Load() {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			i.temporal.is(anInstance, api.StateRunning)
			for range 2 { // Also for who has to ask again, as the answer was lost.
				launched, err := execute(t.Context(), t, i.containers.Launch,
					activities.LaunchParams{InstanceID: anInstance, Message: i.message, Created: created})
				require.NoError(t, err)
				require.Equal(t, !ready, launched.Unready)
			}
			require.Equal(t, ready, i.supervisor.Instances()[0].Ready)
			require.Empty(t, i.temporal.told)
			if !ready {
				serves.Store(true)
				<-i.temporal.told
				require.Equal(t, []bool{true}, i.temporal.readiness)
			}
			i.retire(t, activities.RetireParams{})
		})
	}
}

// TestFirstLookAtReadinessEndsWithTheInstance: how it ended is told as of any that runs.
func TestFirstLookAtReadinessEndsWithTheInstance(t *testing.T) {
	i := newInstanceTest(t, `until [ -e "$HOME/../tmp/go" ]; do sleep 0.02; done; exit 5`)
	i.message.ReadinessCheck = &api.HealthCheck{Type: api.CheckHTTP, InvocationTimeout: 600}
	created := i.create(t)
	i.temporal.is(anInstance, api.StateRunning)
	done := i.launchInTheMidstOfALook(t, created)
	require.NoError(t, <-done)
	<-i.temporal.told
	require.Equal(t, []api.InstanceExit{{Status: 5, Description: api.ExitAppExited}}, i.temporal.heard(anInstance))
	i.retire(t, activities.RetireParams{})
}
