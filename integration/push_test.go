package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// TestPush is the main job: an app somebody wrote is staged, runs twice, answers, and every step of it is a workflow
// that Temporal's UI shows; then it is changed and deleted, and nothing of it is left.
func TestPush(t *testing.T) {
	ctx := t.Context()
	source, err := stack.Example("hello")
	require.NoError(t, err)
	_, err = shared.Starter(ctx, "push", source, "--name", "hello", "--instances", "2")
	require.NoError(t, err)

	var app api.AppStatus
	require.NoError(t, shared.StarterJSON(ctx, &app, "ps", "hello"))
	assert.Equal(t, 2, app.Running)
	addresses := running(t, app)
	require.Len(t, addresses, 2)
	assert.NotEqual(t, addresses[0], addresses[1])
	for _, address := range addresses {
		status, body, err := stack.Get(ctx, "http://"+address)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
		assert.NotEmpty(t, body)
	}

	t.Run("is in the lists", func(t *testing.T) {
		for _, command := range []string{"apps", "nodes"} {
			eventually(t, soon, func() error {
				out, err := shared.Starter(ctx, command)
				if err == nil && command == "apps" && !strings.Contains(out, "hello") {
					err = fmt.Errorf("hello is not in %q", out)
				}
				return err
			})
		}
	})
	t.Run("is workflows in the UI", func(t *testing.T) {
		for _, workflow := range []string{
			api.WorkflowStageApp, api.WorkflowEvaluateHealth, api.WorkflowRunInstance, api.WorkflowNode,
		} {
			eventually(t, soon, func() error { return shownByUI(t, workflow) })
		}
	})
	t.Run("scales", func(t *testing.T) {
		_, err := shared.Starter(ctx, "scale", "hello", "1")
		require.NoError(t, err)
		eventually(t, soon, func() error { return hasInstances(ctx, "hello", 1) })
	})
	t.Run("stops and starts again", func(t *testing.T) {
		_, err := shared.Starter(ctx, "stop", "hello")
		require.NoError(t, err)
		eventually(t, soon, func() error { return hasInstances(ctx, "hello", 0) })
		clean(t, shared)
		_, err = shared.Starter(ctx, "start", "hello")
		require.NoError(t, err)
		eventually(t, later, func() error { return hasInstances(ctx, "hello", 1) })
	})
	t.Run("goes without a trace", func(t *testing.T) {
		_, err := shared.Starter(ctx, "delete", "hello")
		require.NoError(t, err)
		require.NoError(t, shared.Control.AwaitGone(ctx, "hello"))
		_, err = shared.Control.App(ctx, "hello")
		require.ErrorIs(t, err, controller.ErrNoSuchApp)
		clean(t, shared)
	})
}

// TestPushStatic pushes a site of plain files and reads a page of it.
func TestPushStatic(t *testing.T) {
	pushExample(t, "static")
	app, err := shared.Control.App(t.Context(), "static")
	require.NoError(t, err)
	for _, address := range running(t, app) {
		status, body, err := stack.Get(t.Context(), "http://"+address)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
		assert.Contains(t, body, "<html")
	}
}

// TestPushProcfile pushes a worker that listens nowhere, and reads what it says.
func TestPushProcfile(t *testing.T) {
	pushExample(t, "procfile", "--no-route")
	eventually(t, soon, func() error {
		out, err := shared.Starter(t.Context(), "logs", "procfile")
		if err == nil && strings.TrimSpace(out) == "" {
			err = errors.New("the app has said nothing")
		}
		return err
	})
}

// pushExample pushes an example app under its own name, which is deleted when the test is over.
func pushExample(t *testing.T, name string, flags ...string) {
	t.Helper()
	source, err := stack.Example(name)
	require.NoError(t, err)
	t.Cleanup(func() { remove(t, shared, name) })
	_, err = shared.Starter(t.Context(), append([]string{"push", source, "--name", name}, flags...)...)
	require.NoError(t, err)
}

// running are the addresses of the instances that run.
func running(t *testing.T, app api.AppStatus) []string {
	t.Helper()
	var addresses []string
	for _, instance := range app.Instances {
		if instance.State == api.StateRunning {
			require.NotEmpty(t, instance.Address)
			addresses = append(addresses, instance.Address)
		}
	}
	return addresses
}

// hasInstances fails unless exactly so many instances of an app live, and all run.
func hasInstances(ctx context.Context, app string, wanted int) error {
	status, err := shared.Control.App(ctx, app)
	if err != nil {
		return err
	}
	living := slices.DeleteFunc(slices.Clone(status.Instances), func(i api.InstanceStatus) bool { return !i.State.Alive() })
	if len(living) != wanted || status.Running != wanted {
		return fmt.Errorf("%s has %d instances of which %d run, not %d: %s", app, len(living), status.Running, wanted,
			status.Problem)
	}
	return nil
}

// remove deletes an app and waits until nothing of it is left.
func remove(t *testing.T, s *stack.Stack, app string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // it is for a test's end, too
	_, err := s.Control.Delete(ctx, app, "the test is over")
	if errors.Is(err, controller.ErrNoSuchApp) {
		return
	}
	require.NoError(t, err)
	require.NoError(t, s.Control.AwaitGone(ctx, app))
	clean(t, s)
}

// shownByUI fails unless the UI's own API, which its pages use, lists a workflow of the type.
func shownByUI(t *testing.T, workflow string) error {
	t.Helper()
	status, body, err := stack.Get(t.Context(), shared.UI+"/api/v1/namespaces/default/workflows")
	if err != nil {
		return err
	}
	var list struct {
		Executions []struct {
			Type struct {
				Name string `json:"name"`
			} `json:"type"`
		} `json:"executions"`
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != http.StatusOK {
		return fmt.Errorf("the UI answers %d: %w", status, err)
	}
	for _, execution := range list.Executions {
		if execution.Type.Name == workflow {
			return nil
		}
	}
	return fmt.Errorf("no workflow %s among the %d that the UI shows", workflow, len(list.Executions))
}
