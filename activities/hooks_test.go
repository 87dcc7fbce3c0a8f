package activities_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/activities"
	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/warden/wardenpb"
)

func TestHooksRunAroundAnInstance(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.config.Hooks = map[string]string{}
	for _, name := range []string{"before_start", "after_start"} {
		script := filepath.Join(i.base, name)
		require.NoError(t, os.WriteFile(script, []byte(`echo "`+name+` $CF_INSTANCE_INDEX" >> "$HOME/../tmp/hooks"`), 0o644))
		i.config.Hooks[name] = script
	}
	require.NoError(t, i.launch(t, i.create(t)))
	require.Equal(t, "before_start 0\nafter_start 0\n", i.awaitFile(t, "tmp/hooks"))
	i.retire(t, activities.RetireParams{})
}

func TestHooksRunOnceWhateverDies(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	ran := filepath.Join(t.TempDir(), "ran")
	i.config.Hooks = map[string]string{}
	for _, name := range []string{"before_start", "after_start", "before_stop", "after_stop"} {
		i.config.Hooks[name] = filepath.Join(i.base, name)
		require.NoError(t, os.WriteFile(i.config.Hooks[name], []byte("echo "+name+" >> "+ran+"; exit 0"), 0o644))
	}
	created := i.create(t)
	for range 2 {
		require.NoError(t, i.launch(t, created))
		i.die(t)
	}
	// A worker that died in RetireInstance, after the first of the two.
	_, err := i.server.Client.Run(t.Context(), &wardenpb.RunRequest{
		Handle: proto.String(anInstance), Script: proto.String(activities.HookScript("before_stop", "", "echo before_stop >> "+ran)),
	})
	require.NoError(t, err)
	i.retire(t, activities.RetireParams{Created: created, Graceful: true})
	text, err := os.ReadFile(ran)
	require.NoError(t, err)
	require.Equal(t, "before_start\nafter_start\nbefore_stop\nafter_stop\n", string(text))
}

func TestFailingHookFailsTheStart(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	said := i.logged(nil)
	script := filepath.Join(i.base, "hook")
	require.NoError(t, os.WriteFile(script, []byte("env >&2; exit 3\n"), 0o644))
	i.message.Env = []string{"PASSWORD=" + secret}
	i.config.Hooks = map[string]string{"before_start": script}
	created := i.create(t)
	for range 2 {
		err := i.launch(t, created)
		require.Equal(t, api.ErrorInfo{Type: api.ErrStartFailed, Message: api.ExitFailedToStart}, api.Explain(err, ""))
		require.ErrorContains(t, err, "hook before_start ended with 3")
		require.NotContains(t, err.Error(), secret)
	}
	require.Contains(t, i.awaitFile(t, "logs/hooks.log"), "PASSWORD="+secret, "the app's user can see it")
	i.config.Hooks = map[string]string{"before_stop": script}
	i.retire(t, activities.RetireParams{Created: created, Graceful: true})
	require.Contains(t, said.String(), "hook before_stop ended with 3")
	require.NotContains(t, said.String(), secret)
}

func TestHookThatOutlivesItsWorkerIsNotTakenForTheApp(t *testing.T) {
	i := newInstanceTest(t, writesOnce)
	i.config.Hooks = map[string]string{"before_start": filepath.Join(i.base, "hook")}
	require.NoError(t, os.WriteFile(i.config.Hooks["before_start"], []byte(
		`echo hook >> "$HOME/../tmp/hooks"; until [ -e "$HOME/../tmp/go" ]; do sleep 0.02; done`), 0o644))
	created := i.create(t)
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := execute(ctx, t, i.containers.Launch,
			activities.LaunchParams{InstanceID: anInstance, Message: i.message, Created: created})
		ended <- err
	}()
	i.awaitFile(t, "tmp/hooks")
	kill()
	require.Error(t, <-ended)
	i.temporal.is(anInstance, api.StateStarting)
	i.die(t)
	require.NoError(t, i.supervisor.Resume(t.Context(), i.ledger()))
	require.Nil(t, i.supervisor.Watched(anInstance), "the hook is not the app")
	require.NoError(t, os.WriteFile(filepath.Join(i.home(t), "tmp", "go"), nil, 0o644))
	require.NoError(t, i.launch(t, created))
	require.Equal(t, "started\n", i.awaitFile(t, "tmp/starts"))
	require.Equal(t, "hook\n", i.awaitFile(t, "tmp/hooks"), "it is not run again")
	require.Empty(t, i.temporal.heard(anInstance))
	i.retire(t, activities.RetireParams{})
}
