package controller

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/directory"
)

// measured is a node's measurements.
type measured struct{ api.NodeStats }

func (m measured) Node() api.NodeStats { return m.NodeStats }

func (m measured) Instance(string) (api.InstanceStats, bool) { return api.InstanceStats{}, false }

// TestStatisticsComeFromTheNode asks a real directory server that has the installation's keys.
func TestStatisticsComeFromTheNode(t *testing.T) {
	ring, err := codec.CreateKeyFile(filepath.Join(t.TempDir(), "key"))
	require.NoError(t, err)
	want := api.NodeStats{Node: "n", Load: 1.5, Instances: []api.InstanceStats{{InstanceID: "i", MemoryBytes: 5}}}
	server := httptest.NewServer(directory.New(directory.Options{
		Keys: ring.Derive(directory.KeyPurpose), Stats: measured{want},
	}))
	c := New(nil, ring)
	at := api.NodeStatus{Node: "n", FilesURL: server.URL}
	got, err := c.StatsOf(t.Context(), at)
	require.NoError(t, err)
	require.Equal(t, want, got)

	server.Close()
	_, err = c.StatsOf(t.Context(), at)
	require.ErrorIs(t, err, ErrNoStats)
	require.NotContains(t, err.Error(), "hmac")
	_, err = c.StatsOf(t.Context(), api.NodeStatus{Node: "n"})
	require.ErrorIs(t, err, ErrNoStats)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.StatsOf(canceled, at)
	require.ErrorIs(t, err, context.Canceled)
}

func TestInstancesThatAreNotAliveHaveNoStatistics(t *testing.T) {
	found, err := New(nil, nil).StatsOfInstances(t.Context(), []api.InstanceStatus{{InstanceID: "i", Node: "n", State: api.StateCrashed}, {State: api.StateBorn}})
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestAnErrorNamesAFew(t *testing.T) {
	require.Equal(t, "a, b", someOf([]string{"b", "a"}))
	require.Equal(t, "a, b, c, d, e, and 2 more", someOf([]string{"g", "f", "e", "d", "c", "b", "a"}))
}
