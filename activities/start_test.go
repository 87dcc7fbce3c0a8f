package activities_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/warden/wardenpb"
)

func (i *instanceTest) start(t *testing.T, owner string) (activities.StartResult, error) {
	t.Helper()
	return execute(t.Context(), t, i.containers.Start, activities.StartParams{
		InstanceID: anInstance, Message: i.message, Owner: owner, FilesURL: "http://files.localhost",
	})
}

func TestStartTellsTheOwner(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	started, err := i.start(t, "app/app")
	require.NoError(t, err)
	require.True(t, started.Told)
	require.NotZero(t, started.Created.HostPort)
	info, err := i.server.Client.Info(t.Context(), &wardenpb.InfoRequest{Handle: proto.String(anInstance)})
	require.NoError(t, err)
	require.Equal(t, []uint64{uint64(started.Job)}, info.GetJobIds())
	require.Len(t, i.temporal.changes, 1)
	said := i.temporal.changes[0]
	require.Equal(t, api.InstanceStatus{
		InstanceID: anInstance, AppID: "app", Version: "v", Node: "n", State: api.StateRunning,
		Since: said.Since, RunningSince: said.Since, Address: started.Created.Address, FilesURL: "http://files.localhost",
	}, said)
	require.False(t, said.Since.IsZero())
	i.retire(t, activities.RetireParams{Created: started.Created})
	again, err := i.start(t, "")
	require.NoError(t, err)
	require.False(t, again.Told, "there is nobody to be told")
	i.retire(t, activities.RetireParams{Created: again.Created})
}

func TestStartSaysWhoIsNotReady(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.message.ReadinessCheck = &api.HealthCheck{Type: api.CheckPort}
	started, err := i.start(t, "app/app")
	require.NoError(t, err)
	require.True(t, started.Unready)
	require.True(t, i.temporal.changes[0].Unready, "its owner is not to stop what it replaces")
	i.retire(t, activities.RetireParams{Created: started.Created})
}

// A worker may die at any moment of a start: what was made is gone on with under the ports that it has.
func TestStartGoesOnWhereItDied(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	first, err := i.start(t, "")
	require.NoError(t, err)
	i.awaitFile(t, "tmp/starts")
	i.die(t)
	second, err := i.start(t, "")
	require.NoError(t, err)
	require.Equal(t, first.Created, second.Created)
	require.Equal(t, first.Job, second.Job)
	require.Equal(t, "started\n", i.awaitFile(t, "tmp/starts"), "the app is not started a second time")
	i.retire(t, activities.RetireParams{Created: second.Created})
}

func TestStartMakesAnewWhatWasOnlyHalfMade(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.create(t) // And died before it noted that.
	require.NoError(t, os.WriteFile(filepath.Join(i.home(t), "tmp", "left"), nil, 0o644))
	i.die(t)
	started, err := i.start(t, "")
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(i.home(t), "tmp", "left"))
	i.retire(t, activities.RetireParams{Created: started.Created})
}

func TestStartOfWhatIsGoneMakesNothing(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	_, err := i.start(t, "")
	require.NoError(t, err)
	_, err = i.server.Client.Destroy(t.Context(), &wardenpb.DestroyRequest{Handle: proto.String(anInstance)})
	require.NoError(t, err)
	i.die(t)
	_, err = i.start(t, "")
	require.Equal(t, api.ErrorInfo{Type: api.ErrStartFailed, Message: api.ExitNotDetermined}, api.Explain(err, ""))
	i.retire(t, activities.RetireParams{})
}

// A start that was interrupted has told nobody its ports; the hooks that stop it have them all the same.
func TestHooksOfAnInterruptedStartKnowItsPort(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	started, err := i.start(t, "")
	require.NoError(t, err)
	script, said := filepath.Join(i.base, "hook"), filepath.Join(t.TempDir(), "port")
	require.NoError(t, os.WriteFile(script, fmt.Appendf(nil, "echo $PORT > %s\n", said), 0o644))
	i.config.Hooks = map[string]string{"before_stop": script}
	i.retire(t, activities.RetireParams{Graceful: true})
	port, err := os.ReadFile(said)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintln(started.Created.ContainerPort), string(port))
}
