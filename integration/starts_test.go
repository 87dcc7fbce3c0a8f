package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/crowd"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// TestStartsThatFail has the words that users are told, and that nothing is left of what could not start.
func TestStartsThatFail(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, stack.OwnOptions{MemoryMB: 1024, DiskMB: 4096})
	bare := crowd.NewBareDroplet(t)
	for name, broken := range map[string]struct {
		change func(*api.StartMessage)
		words  string
	}{
		"no start command": {
			func(m *api.StartMessage) { m.SHA1, m.ExecutableURI = bare.SHA1, bare.URI }, api.ExitMissingCommand,
		},
		"a command that ends": {
			func(m *api.StartMessage) { m.StartCommand = "exit 3" }, api.ExitAppExited,
		},
		"a command that is none": {
			func(m *api.StartMessage) { m.StartCommand = "there-is-no-such-program" }, api.ExitAppExited,
		},
		"no port": {
			func(m *api.StartMessage) { m.StartCommand, m.HealthCheckTimeout = "sleep 1000", 1 }, api.ExitHealthCheck,
		},
		"another droplet": {
			func(m *api.StartMessage) { m.SHA1 = strings.Repeat("0", 40) },
			"the droplet is not the one that was asked for: its SHA-1 is wrong",
		},
		"no droplet": {
			func(m *api.StartMessage) {
				m.SHA1, m.ExecutableURI = strings.Repeat("1", 40), "http://127.0.0.1:1/none"
			},
			"failed to start: the cloud controller at 127.0.0.1:1 cannot be reached",
		},
		"an unknown stack": {
			func(m *api.StartMessage) { m.Stack = "nobody's" }, "No node offers the stack that the app is to run on.",
		},
		"too much memory": {
			func(m *api.StartMessage) { m.Limits.MemoryMB = 1 << 20 }, "Not enough memory resource available.",
		},
		"too much disk": {
			func(m *api.StartMessage) { m.Limits.DiskMB = 1 << 20 }, "Not enough disk resource available.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			message := c.Droplet.Message("fails-"+strings.ReplaceAll(name, " ", "-"), "v1", stack.OwnStack)
			message.AppID = strings.ReplaceAll(message.AppID, "'", "")
			message.URIs = []string{"fails.localhost"}
			broken.change(&message)
			_, err := c.Stack.Control.Run(t.Context(), api.AppSpec{Message: message, Instances: 1})
			require.NoError(t, err)
			eventually(t, later, func() error {
				status, err := c.Stack.Control.App(t.Context(), message.AppID)
				if err == nil && !strings.Contains(status.Problem, broken.words) {
					err = fmt.Errorf("its problem is %q", status.Problem)
				}
				return err
			})
			_, err = c.Stack.Control.Delete(t.Context(), message.AppID, "the test is over")
			require.NoError(t, err)
			eventually(t, later, func() error { return c.Node.InUse(t.Context()) })
		})
	}
}

// TestWardenAwayDuringAStart: the start waits for it, and goes on.
func TestWardenAwayDuringAStart(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, stack.OwnOptions{MemoryMB: 1024, DiskMB: 4096})
	require.NoError(t, c.Node.KillWardend())
	require.NoError(t, c.Want(t.Context(), "patient", "v1", 2))
	time.Sleep(5 * time.Second)
	status, err := c.Stack.Control.App(t.Context(), "patient")
	require.NoError(t, err)
	require.Len(t, status.Instances, 2)
	assert.Equal(t, api.StateStarting, status.Instances[0].State)
	require.NoError(t, c.Node.StartWardend(t.Context()))
	c.Settles(t, map[string]int{"patient": 2})
}

// TestWardenThatRefuses: a node out of ports says so, and starts what it can.
func TestWardenThatRefuses(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, stack.OwnOptions{MemoryMB: 1024, DiskMB: 4096, Ports: 3})
	require.NoError(t, c.Want(t.Context(), "crowded", "v1", 5))
	eventually(t, later, func() error {
		status, err := c.Stack.Control.App(t.Context(), "crowded")
		if err == nil && (status.Running != 3 || !strings.Contains(status.Problem, "the container server refused to open a port")) {
			err = fmt.Errorf("it is %+v", status)
		}
		return err
	})
	require.NoError(t, c.Want(t.Context(), "crowded", "v1", 3))
	c.Settles(t, map[string]int{"crowded": 3})
}
